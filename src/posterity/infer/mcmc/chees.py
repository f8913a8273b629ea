"""Hamiltonian Monte Carlo with many short chains that tune one trajectory length together."""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.chees_adaptation import ChEESAdaptation, ChEESTuning
from posterity.infer.mcmc.compiled_trajectory import CompiledStep, compiled_step
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.metric import Metric
from posterity.infer.mcmc.metric_estimation import MetricKind
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import (
    MAX_ENERGY_ERROR,
    SUBTREE,
    Edge,
    draw_momentum,
    energy_of,
    leapfrog,
    one_uniform,
    where,
)
from posterity.infer.simulation import Program
from posterity.kernels import Key


class ChEESState(NamedTuple):
    """Where chains of `ChEES` are, in whitened space.

    Attributes:
        position: `[num_chains, dim]`.
        log_density: `[num_chains]`.
        gradient: Of the log density, `[num_chains, dim]`.
        num_transitions: How many were taken, which says how long the next trajectory is; `[num_chains]`, int64.
    """

    position: Tensor
    log_density: Tensor
    gradient: Tensor
    num_transitions: Tensor


class ChEESInfo(NamedTuple):
    """What is known of a transition of `ChEES`, `[num_chains]` each.

    Attributes:
        accept_prob: The acceptance probability.
        is_accepted: Whether the end of the trajectory was taken.
        is_divergent: Whether the energy error passed 1000, or could not be computed.
        num_steps: How many leapfrogs were made.
        energy: The Hamiltonian in nats at the start of the trajectory.
        criterion_gradient: The chain's share in the gradient of the criterion by the logarithm of the length.
    """

    accept_prob: Tensor
    is_accepted: Tensor
    is_divergent: Tensor
    num_steps: Tensor
    energy: Tensor
    criterion_gradient: Tensor


class ChEES(Kernel[ChEESState, ChEESTuning]):
    r"""Hamiltonian Monte Carlo for many chains, whose trajectories have one length and end together.

    The n-th trajectory has the length $h_n T$ with van der Corput's sequence $h_n$, the same for all chains: the chains
    stay in step, and no period of the target is met again and again. The warm-up tunes $T$ by the gradient of the
    criterion $\tfrac14 E\big[(|\theta' - E\theta|^2 - |\theta - E\theta|^2)^2\big]$, the change in the estimator of the
    expected square, so there must be several chains; from about 16 on it works well.

    A transition is made of `begin`, `leapfrog` and `end`, each of which can be captured as one graph; `step` is a loop
    of them in eager code, and `compiled` one of their graphs.

    Args:
        model: A program whose continuous latent variables are drawn; marked discrete ones are summed out.
        log_density: Instead of a model: a log density of one flat vector `[dim]`, differentiable.
        step_size: The first step size, in whitened space; None: found by trial.
        target_accept: The harmonic mean of the chains' acceptance probabilities that the step size is tuned for.
        metric: What is learnt of the target's shape, by all chains together: `"diagonal"`, `"dense"` or `"low_rank"`;
            None: nothing.
        max_num_steps: How many leapfrogs a trajectory may have.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both.
        ValueError: A number is out of range.

    Source: Hoffman, Radul and Sountsov (2021), "An Adaptive-MCMC Scheme for Setting Trajectory Lengths in Hamiltonian
    Monte Carlo", equation 4 and algorithm 1.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> kernel = ChEES(log_density=lambda z: -0.5 * (z * z).sum())
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(16, 2))
        >>> tuning = ChEESTuning(torch.full((16,), 0.5), torch.full((16,), 3.0))
        >>> state, info = kernel.step(target, state, tuning, Key(0).fold_in(torch.arange(16)))
        >>> info.num_steps[0]  # half the length: the first number of the sequence is 1 / 2
        tensor(3)
    """

    is_capturable = False

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        step_size: float | None = None,
        target_accept: float = 0.651,
        metric: str | None = "diagonal",
        max_num_steps: int = 1000,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, log_density=log_density, init=init)
        if step_size is not None and not 0 < step_size < math.inf:
            raise ValueError(f"ChEES: step_size must be a positive number, not {step_size!r}")
        if not 0 < target_accept < 1:
            raise ValueError(f"ChEES: target_accept must be between 0 and 1, not {target_accept!r}")
        if metric not in ("diagonal", "dense", "low_rank", None):
            raise ValueError(f"ChEES: metric must be 'diagonal', 'dense', 'low_rank' or None, not {metric!r}")
        if isinstance(max_num_steps, bool) or not isinstance(max_num_steps, int) or max_num_steps < 1:
            raise ValueError(f"ChEES: max_num_steps must be a whole number of at least 1, not {max_num_steps!r}")
        self.step_size, self.target_accept, self.max_num_steps = step_size, target_accept, max_num_steps
        self.metric = cast(MetricKind | None, metric)

    def init(self, target: Target, position: Tensor) -> ChEESState:
        """The state at positions `[num_chains, dim]`, before the first transition."""
        value, gradient = target.value_and_grad(position)
        return ChEESState(position, value, gradient, torch.zeros_like(value, dtype=torch.int64))

    def step(self, target: Target, state: ChEESState, tuning: ChEESTuning, keys: Key) -> tuple[ChEESState, ChEESInfo]:
        """Take a transition; the number of leapfrogs is read from the tensors, so this runs in eager code only."""
        trajectory = self.begin(state, tuning, keys)
        for _ in range(int(trajectory.planned.max())):
            trajectory = self.leapfrog(target, trajectory, tuning)
        return self.end(trajectory, tuning, keys)

    def compiled(
        self, target: Target, metric: Metric | None, state: ChEESState, tuning: ChEESTuning, keys: Key
    ) -> "CompiledStep[ChEESState, ChEESTuning, ChEESInfo]":
        """`step` with each of its three parts as one compiled graph; see `compiled_step`."""
        return compiled_step(self, target, metric, state, tuning, keys)

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> ChEESAdaptation:
        """What all chains tune together: step size, trajectory length and metric."""
        return ChEESAdaptation(
            target,
            position,
            num_warmup,
            keys,
            target_accept=self.target_accept,
            metric=self.metric,
            max_num_steps=self.max_num_steps,
            step_size=self.step_size,
        )

    def begin(self, state: ChEESState, tuning: ChEESTuning, keys: Key) -> "Trajectory":
        """Trajectories of no leapfrog yet."""
        momentum = draw_momentum(keys, state.position)
        length = van_der_corput(state.num_transitions + 1) * tuning.trajectory_length
        planned = (length / tuning.step_size).ceil().clamp(1, self.max_num_steps).to(torch.int64)
        energy = energy_of(momentum, state.log_density)
        edge = Edge(state.position, momentum, state.gradient)
        return Trajectory(
            state, edge, state.log_density, planned, torch.zeros_like(planned), energy, torch.zeros_like(energy)
        )

    def leapfrog(self, target: Target, trajectory: "Trajectory", tuning: ChEESTuning) -> "Trajectory":
        """One leapfrog of every chain; trajectories that are whole, or diverge, stay as they are."""
        going = (trajectory.taken < trajectory.planned) & ~(trajectory.energy_error > MAX_ENERGY_ERROR)
        edge, value = leapfrog(target, trajectory.edge, tuning.step_size)
        error = energy_of(edge.momentum, value) - trajectory.energy
        error = torch.where(error.isfinite(), error, torch.inf)
        return trajectory._replace(
            edge=Edge(*(where(going, new, old) for new, old in zip(edge, trajectory.edge, strict=True))),
            log_density=torch.where(going, value, trajectory.log_density),
            taken=trajectory.taken + going,
            energy_error=torch.where(going, error, trajectory.energy_error),
        )

    def end(self, trajectory: "Trajectory", tuning: ChEESTuning, keys: Key) -> tuple[ChEESState, ChEESInfo]:
        """Accept or reject the ends of the trajectories."""
        start, edge = trajectory.start, trajectory.edge
        diverges = trajectory.energy_error > MAX_ENERGY_ERROR
        accept_prob = torch.where(diverges, 0.0, (-trajectory.energy_error).clamp(max=0).exp())
        accepted = one_uniform(keys, SUBTREE) < accept_prob
        length = van_der_corput(start.num_transitions + 1) * tuning.trajectory_length
        slope = length * _change_of_square(start.position, edge, accept_prob)
        state = ChEESState(
            where(accepted, edge.position, start.position),
            torch.where(accepted, trajectory.log_density, start.log_density),
            where(accepted, edge.gradient, start.gradient),
            start.num_transitions + 1,
        )
        return state, ChEESInfo(accept_prob, accepted, diverges, trajectory.taken, trajectory.energy, slope)


class Trajectory(NamedTuple):
    """Trajectories on their way, `[num_chains, ...]` each.

    Attributes:
        start: Where they began.
        edge: Where they are.
        log_density: The log density there.
        planned: How many leapfrogs they are to have, int64.
        taken: How many they have, int64.
        energy: The Hamiltonian at the start.
        energy_error: How much higher it is now; infinite where it cannot be computed.
    """

    start: ChEESState
    edge: Edge
    log_density: Tensor
    planned: Tensor
    taken: Tensor
    energy: Tensor
    energy_error: Tensor


def van_der_corput(number: Tensor) -> Tensor:
    """The sequence on (0, 1) that mirrors a number's binary digits at the point, for numbers below 2^31; float64.

    Source: van der Corput (1935), "Verteilungsfunktionen"; it is Halton's sequence of base 2.

    Example:
        >>> van_der_corput(torch.arange(1, 5))
        tensor([0.5000, 0.2500, 0.7500, 0.1250], dtype=torch.float64)
    """
    digit = torch.arange(31, device=number.device)
    return (((number.unsqueeze(-1) >> digit) & 1).double() * torch.exp2(-1.0 - digit.double())).sum(-1)


def _change_of_square(position: Tensor, end: Edge, accept_prob: Tensor) -> Tensor:
    """How the criterion grows with time at the ends of trajectories, `[num_chains]`; 0 where nothing is accepted."""
    weight = accept_prob.unsqueeze(-1)
    proposed, momentum = (torch.where(weight > 0, x.double(), 0.0) for x in (end.position, end.momentum))
    proposed = proposed - (weight * proposed).sum(0) / weight.sum().clamp(min=1e-30)
    start = position.double()
    start = start - start.mean(0)
    change = proposed.square().sum(-1) - start.square().sum(-1)
    return torch.where(accept_prob > 0, change * (proposed * momentum).sum(-1), 0.0)
