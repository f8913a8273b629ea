"""The No-U-Turn Sampler."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.hamiltonian import HamiltonianKernel
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import (
    DIRECTION,
    LEAF,
    MAX_ENERGY_ERROR,
    SUBTREE,
    Edge,
    HamiltonianInfo,
    HamiltonianState,
    counted_uniform,
    draw_momentum,
    energy_of,
    leapfrog,
    where,
    words,
)
from posterity.infer.simulation import Program
from posterity.kernels import Key


class NUTS(HamiltonianKernel):
    """Hamiltonian Monte Carlo whose trajectories end where they turn back.

    Trajectories double until two ends of a balanced subtree move towards each other (the generalised criterion), and
    the next point is drawn from all of the trajectory's, by weights, with a bias to the later half.

    Args:
        model: A program whose continuous latent variables are drawn; discrete ones that are marked
            `infer={"enumerate": "parallel"}` are summed out.
        log_density: Instead of a model: a log density of one flat vector `[dim]`, differentiable.
        step_size: The first step size, in whitened space; None: found by trial.
        target_accept: The mean acceptance probability that the step size is tuned for; nearer to 1 means smaller steps.
        max_tree_depth: How often a trajectory may double: at most `2 ** max_tree_depth - 1` leapfrogs.
        metric: What is learnt of the target's shape in the warm-up: `"diagonal"`, `"dense"` or `"low_rank"`; None:
            nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both.
        ValueError: A number is out of range.

    Source: Hoffman and Gelman (2014), "The No-U-Turn Sampler"; Betancourt (2017), "A Conceptual Introduction to
    Hamiltonian Monte Carlo", appendix A; Phan, Pradhan and Jankowiak (2019), "Composable Effects for Flexible and
    Accelerated Probabilistic Programming in NumPyro", on the iterative tree.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> kernel = NUTS(log_density=lambda z: -0.5 * (z * z).sum())
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(4, 2))
        >>> keys = Key(torch.arange(8, dtype=torch.int32).reshape(4, 2))
        >>> state, info = kernel.step(target, state, Tuning(torch.full((4,), 0.5)), keys)
        >>> state.position.shape, bool(info.is_divergent.any())
        (torch.Size([4, 2]), False)
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        step_size: float | None = None,
        target_accept: float = 0.8,
        max_tree_depth: int = 10,
        metric: str | None = "diagonal",
        adapt_step_size: bool = True,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(
            model,
            log_density=log_density,
            step_size=step_size,
            target_accept=target_accept,
            metric=metric,
            adapt_step_size=adapt_step_size,
            init=init,
        )
        if isinstance(max_tree_depth, bool) or not isinstance(max_tree_depth, int) or not 1 <= max_tree_depth <= 30:
            raise ValueError(f"NUTS: max_tree_depth must be a whole number from 1 to 30, not {max_tree_depth!r}")
        self.max_tree_depth = max_tree_depth

    def step(
        self, target: Target, state: HamiltonianState, tuning: Tuning, keys: Key
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        """Take a transition; each chain's trajectory grows until its own end, so this looks at values."""
        tree = self.begin(state, keys)
        while not bool(tree.is_finished.all()):
            tree = self.advance(target, tree, tuning, keys)
        return self.end(tree)

    def begin(self, state: HamiltonianState, keys: Key) -> "Tree":
        """Trajectories of no leapfrog yet."""
        momentum = draw_momentum(keys, state.position)
        edge = Edge(state.position, momentum, state.gradient)
        energy = energy_of(momentum, state.log_density)
        zero = torch.zeros_like(energy)
        number = torch.zeros_like(energy, dtype=torch.int64)
        false = torch.zeros_like(energy, dtype=torch.bool)
        checkpoints = momentum.new_zeros(momentum.shape[0], self.max_tree_depth, momentum.shape[1])
        return Tree(
            left=edge, right=edge, chosen=state, momentum_sum=momentum, energy=energy, log_weight=zero,
            accept_sum=zero, depth=number, num_leaves=number, is_divergent=false, is_finished=false,
            edge=edge, sub_chosen=state, sub_momentum_sum=torch.zeros_like(momentum),
            sub_log_weight=torch.full_like(zero, -torch.inf), sub_leaves=number,
            checkpoint_momentum=checkpoints, checkpoint_sum=checkpoints,
        )  # fmt: skip

    def advance(self, target: Target, tree: "Tree", tuning: Tuning, keys: Key) -> "Tree":
        """One leapfrog of every chain; chains whose trajectories are finished stay as they are."""
        # A subtree begins at the end of the trajectory that its direction asks for.
        fresh = tree.sub_leaves == 0
        right = words(keys, tree.depth, DIRECTION)[0] >= 0
        edge = Edge(*(where(right, r, e) for r, e in zip(tree.right, tree.left, strict=True)))
        edge = Edge(*(where(fresh, new, old) for new, old in zip(edge, tree.edge, strict=True)))
        sub_sum = where(fresh, torch.zeros_like(tree.sub_momentum_sum), tree.sub_momentum_sum)
        before = torch.where(fresh, -torch.inf, tree.sub_log_weight)

        step = torch.where(right, tuning.step_size, -tuning.step_size)
        edge, value = leapfrog(target, edge, step)
        error = (energy_of(edge.momentum, value) - tree.energy).nan_to_num(nan=torch.inf, posinf=torch.inf)
        diverges = error > MAX_ENERGY_ERROR
        sub_sum = sub_sum + edge.momentum

        # The leaf is chosen among the subtree's by its share of their weight.
        total = torch.logaddexp(before, -error)
        uniform = counted_uniform(keys, tree.num_leaves, LEAF)
        takes = (uniform.log() < -error - total) | fresh
        leaf = HamiltonianState(edge.position, value, edge.gradient)
        sub_chosen = HamiltonianState(*(where(takes, new, old) for new, old in zip(leaf, tree.sub_chosen, strict=True)))
        momenta, sums, turns = self._checked(tree, edge.momentum, sub_sum)
        turns = turns & ~diverges

        # A subtree that is whole joins the trajectory.
        whole = (tree.sub_leaves + 1 == 2**tree.depth) & ~turns & ~diverges
        uniform = counted_uniform(keys, tree.depth, SUBTREE)
        moves = whole & (uniform.log() < total - tree.log_weight)
        chosen = HamiltonianState(*(where(moves, new, old) for new, old in zip(sub_chosen, tree.chosen, strict=True)))
        new_left = Edge(*(where(whole & ~right, new, old) for new, old in zip(edge, tree.left, strict=True)))
        new_right = Edge(*(where(whole & right, new, old) for new, old in zip(edge, tree.right, strict=True)))
        momentum_sum = where(whole, tree.momentum_sum + sub_sum, tree.momentum_sum)
        depth = tree.depth + whole
        ends = whole & ((depth == self.max_tree_depth) | _turning(new_left.momentum, new_right.momentum, momentum_sum))
        new = Tree(
            left=new_left, right=new_right, chosen=chosen, momentum_sum=momentum_sum, energy=tree.energy,
            log_weight=torch.where(whole, torch.logaddexp(tree.log_weight, total), tree.log_weight),
            accept_sum=tree.accept_sum + (-error).clamp(max=0).exp(), depth=depth, num_leaves=tree.num_leaves + 1,
            is_divergent=tree.is_divergent | diverges, is_finished=turns | diverges | ends,
            edge=edge, sub_chosen=sub_chosen, sub_momentum_sum=sub_sum, sub_log_weight=total,
            sub_leaves=torch.where(whole, 0, tree.sub_leaves + 1),
            checkpoint_momentum=momenta, checkpoint_sum=sums,
        )  # fmt: skip
        kept: Tree = _kept(tree.is_finished, tree, new)
        return kept

    def end(self, tree: "Tree") -> tuple[HamiltonianState, HamiltonianInfo]:
        """The new state, once all trajectories are finished, and what is known of the transition."""
        accept_prob = tree.accept_sum / tree.num_leaves
        info = HamiltonianInfo(accept_prob, tree.is_divergent, tree.num_leaves, tree.depth, tree.energy)
        return tree.chosen, info

    def _checked(self, tree: "Tree", momentum: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Checkpoints with this leaf, and whether a balanced subtree that ends with it turns.

        A leaf of even number is the left end of one subtree of each size at most; one of odd number the right end of as
        many subtrees as its number has trailing ones. The left ends that are still waited for fill a stack.
        """
        leaf = tree.sub_leaves
        level = torch.arange(self.max_tree_depth, device=leaf.device)
        digits = (leaf.unsqueeze(-1) >> (level + 1)) & 1
        top = digits.sum(-1)
        ones = torch.cumprod((leaf.unsqueeze(-1) >> level) & 1, -1).sum(-1)
        here = (level == top.unsqueeze(-1)) & (leaf % 2 == 0).unsqueeze(-1)
        momenta = torch.where(here.unsqueeze(-1), momentum.unsqueeze(1), tree.checkpoint_momentum)
        sums = torch.where(here.unsqueeze(-1), total.unsqueeze(1), tree.checkpoint_sum)
        between = total.unsqueeze(1) - sums + momenta
        closed = (level <= top.unsqueeze(-1)) & (level > (top - ones).unsqueeze(-1)) & (leaf % 2 == 1).unsqueeze(-1)
        turns = (_turning(momenta, momentum.unsqueeze(1), between) & closed).any(-1)
        return momenta, sums, turns


class Tree(NamedTuple):
    """Trajectories that grow, `[num_chains, ...]` each.

    Attributes:
        left: The end in negative time.
        right: The end in positive time.
        chosen: The point chosen so far.
        momentum_sum: The sum of all momenta, `[num_chains, dim]`.
        energy: The Hamiltonian at the start.
        log_weight: The logarithm of the sum of the points' weights.
        accept_sum: The sum of the points' acceptance probabilities.
        depth: How often the trajectory was doubled.
        num_leaves: How many leapfrogs were made.
        is_divergent: Whether the energy went astray.
        is_finished: Whether the trajectory has ended.
        edge: The moving end of the subtree that grows now.
        sub_chosen: The point chosen in it so far.
        sub_momentum_sum: The sum of its momenta.
        sub_log_weight: The logarithm of the sum of its weights.
        sub_leaves: How many leaves it has.
        checkpoint_momentum: The momenta at left ends of balanced subtrees, `[num_chains, max_tree_depth, dim]`.
        checkpoint_sum: The sums of momenta there.
    """

    left: Edge
    right: Edge
    chosen: HamiltonianState
    momentum_sum: Tensor
    energy: Tensor
    log_weight: Tensor
    accept_sum: Tensor
    depth: Tensor
    num_leaves: Tensor
    is_divergent: Tensor
    is_finished: Tensor
    edge: Edge
    sub_chosen: HamiltonianState
    sub_momentum_sum: Tensor
    sub_log_weight: Tensor
    sub_leaves: Tensor
    checkpoint_momentum: Tensor
    checkpoint_sum: Tensor


def _turning(left: Tensor, right: Tensor, total: Tensor) -> Tensor:
    """Whether the ends of trajectories move towards each other; the sum counts its two ends by half."""
    left, right = left.double(), right.double()
    rho = total.double() - 0.5 * (left + right)
    return ((left * rho).sum(-1) <= 0) | ((right * rho).sum(-1) <= 0)


def _kept(condition: Tensor, old: Any, new: Any) -> Any:
    """A tree of tensors with some chains' entries kept."""
    if isinstance(old, Tensor):
        return where(condition, old, new)
    return type(old)(*(_kept(condition, a, b) for a, b in zip(old, new, strict=True)))
