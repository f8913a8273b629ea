"""Microcanonical Langevin Monte Carlo: chains that move at unit speed and lose their direction by and by."""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.compiled_trajectory import CompiledStep, compiled_step
from posterity.infer.mcmc.integrators import PhasePoint
from posterity.infer.mcmc.isokinetic import KICKS, isokinetic_step, unit
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.mclmc_adaptation import MCLMCAdaptation, MCLMCTuning
from posterity.infer.mcmc.metric import Metric
from posterity.infer.mcmc.metric_estimation import MetricKind
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import LEAF, MAX_ENERGY_ERROR, SUBTREE, draw_momentum, one_uniform, where
from posterity.infer.simulation import Program
from posterity.kernels import Key


class MCLMCInfo(NamedTuple):
    """What is known of a transition of `MCLMC`, `[num_chains]` each.

    Attributes:
        accept_prob: The acceptance probability; without adjustment 0 for a step that diverged, else 1.
        is_accepted: Whether the chain moved.
        is_divergent: Whether the energy change passed 1000, or could not be computed.
        num_steps: How many gradients were taken.
        energy_change: The error of the energy in nats over the step, or over the trajectory.
    """

    accept_prob: Tensor
    is_accepted: Tensor
    is_divergent: Tensor
    num_steps: Tensor
    energy_change: Tensor


class MCLMC(Kernel[PhasePoint, MCLMCTuning]):
    r"""Isokinetic dynamics with a direction that is partly drawn anew at each step.

    Unadjusted, a transition is one integrator step of length $\epsilon$; noise of scale $\sqrt{(e^{2\epsilon/L} - 1)
    / d}$ joins the direction before, so that it is forgotten over the length $L$. Nothing is rejected: draws have a
    bias that falls like $\epsilon^2$, and that the warm-up keeps small by the variance of the energy (about 2% of the
    variance of 50 independent normals at the default). A step costs one or two gradients where a transition of NUTS
    costs many, so give `num_warmup` and `num_samples` in thousands, and `thin`.

    Adjusted, a transition is a trajectory from a fresh direction, of a random number of steps between 1 and $2 L /
    \epsilon$, accepted or rejected by its energy change: draws have no bias. It is made of `begin`, `leapfrog` and
    `end`, each of which can be captured as one graph; `step` is a loop of them in eager code, and `compiled` one of
    their graphs. The unadjusted step can be captured whole.

    Args:
        model: A program whose continuous latent variables are drawn; marked discrete ones are summed out.
        log_density: Instead of a model: a log density of one flat vector `[dim]`, differentiable, of at least two
            dimensions.
        adjusted: Whether trajectories are accepted or rejected.
        integrator: `"minimal_norm"`, or `"leapfrog"`, which takes one gradient instead of two a step.
        metric: What is learnt of the target's shape in the warm-up: `"diagonal"`, `"dense"` or `"low_rank"`; None:
            nothing.
        target_accept: Of adjusted chains, the acceptance probability that the step size is tuned for.
        energy_variance: Of unadjusted chains, the variance of the energy change by dimension that the step size is
            tuned for; a smaller one means less bias.
        max_num_steps: How many steps an adjusted trajectory may have.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both.
        ValueError: A number is out of range, or the target has only one dimension.

    Source: Robnik, De Luca, Silverstein and Seljak (2023), "Microcanonical Hamiltonian Monte Carlo"; Robnik and Seljak
    (2024), "Fluctuation without dissipation: Microcanonical Langevin Monte Carlo"; Robnik, Cohn-Gordon and Seljak
    (2025), "Metropolis Adjusted Microcanonical Hamiltonian Monte Carlo".

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> kernel = MCLMC(log_density=lambda z: -0.5 * (z * z).sum())
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(4, 2))
        >>> tuning = MCLMCTuning(torch.full((4,), 0.2), torch.full((4,), 2.0))
        >>> state, info = kernel.step(target, state, tuning, Key(0).fold_in(torch.arange(4)))
        >>> state.momentum.norm(dim=-1), bool(info.energy_change.abs().max() < 0.1)
        (tensor([1.0000, 1.0000, 1.0000, 1.0000]), True)
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        adjusted: bool = False,
        integrator: str = "minimal_norm",
        metric: str | None = "diagonal",
        target_accept: float = 0.9,
        energy_variance: float = 5e-4,
        max_num_steps: int = 1000,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, log_density=log_density, init=init)
        if integrator not in KICKS:
            raise ValueError(f"MCLMC: integrator must be 'minimal_norm' or 'leapfrog', not {integrator!r}")
        if metric not in ("diagonal", "dense", "low_rank", None):
            raise ValueError(f"MCLMC: metric must be 'diagonal', 'dense', 'low_rank' or None, not {metric!r}")
        if not 0 < target_accept < 1:
            raise ValueError(f"MCLMC: target_accept must be between 0 and 1, not {target_accept!r}")
        if not 0 < energy_variance < math.inf:
            raise ValueError(f"MCLMC: energy_variance must be a positive number, not {energy_variance!r}")
        if isinstance(max_num_steps, bool) or not isinstance(max_num_steps, int) or max_num_steps < 1:
            raise ValueError(f"MCLMC: max_num_steps must be a whole number of at least 1, not {max_num_steps!r}")
        self.adjusted, self.is_capturable = adjusted, not adjusted
        self.integrator, self.max_num_steps = integrator, max_num_steps
        self.target_accept, self.energy_variance = target_accept if adjusted else None, energy_variance
        self.metric = cast(MetricKind | None, metric)
        self._kicks = KICKS[integrator]

    def init(self, target: Target, position: Tensor) -> PhasePoint:
        """The state at positions `[num_chains, dim]`; a momentum of 0 is a direction that is yet to be drawn."""
        if position.shape[-1] < 2:
            raise ValueError(
                "MCLMC moves along directions of a space of at least 2 dimensions, but the target has 1; use NUTS"
            )
        return PhasePoint(position, torch.zeros_like(position), *target.value_and_grad(position))

    def step(self, target: Target, state: PhasePoint, tuning: MCLMCTuning, keys: Key) -> tuple[PhasePoint, MCLMCInfo]:
        """Take a transition; an adjusted one reads its number of steps, and runs in eager code only."""
        if not self.adjusted:
            return self._unadjusted(target, state, tuning, keys)
        trajectory = self.begin(state, tuning, keys)
        for _ in range(int(trajectory.planned.max())):
            trajectory = self.leapfrog(target, trajectory, tuning)
        return self.end(trajectory, tuning, keys)

    def compiled(
        self, target: Target, metric: Metric | None, state: PhasePoint, tuning: MCLMCTuning, keys: Key
    ) -> "CompiledStep[PhasePoint, MCLMCTuning, MCLMCInfo]":
        """The adjusted `step` with each of its three parts as one compiled graph; see `compiled_step`."""
        if not self.adjusted:
            raise TypeError("MCLMC.compiled is of adjusted=True; a step without adjustment can be captured whole")
        return compiled_step(self, target, metric, state, tuning, keys)

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> MCLMCAdaptation:
        """What each chain tunes for itself: step size, length and metric."""
        return MCLMCAdaptation(
            position,
            num_warmup,
            metric=self.metric,
            target_accept=self.target_accept,
            energy_variance=self.energy_variance,
        )

    def begin(self, state: PhasePoint, tuning: MCLMCTuning, keys: Key) -> "Trajectory":
        """Adjusted trajectories of no step yet, in fresh directions."""
        zero = torch.zeros_like(state.log_density, dtype=torch.int64)
        most = 2 * tuning.length / tuning.step_size
        planned = (most * one_uniform(keys, LEAF)).ceil().clamp(1, self.max_num_steps).to(torch.int64)
        edge = state._replace(momentum=unit(draw_momentum(keys, state.position)))
        return Trajectory(state, edge, planned, zero, torch.zeros_like(state.log_density, dtype=torch.float64))

    def leapfrog(self, target: Target, trajectory: "Trajectory", tuning: MCLMCTuning) -> "Trajectory":
        """One integrator step of every chain; trajectories that are whole, or diverge, stay as they are."""
        going = (trajectory.taken < trajectory.planned) & ~(trajectory.energy_change > MAX_ENERGY_ERROR)
        edge, change = isokinetic_step(target, trajectory.edge, tuning.step_size, self._kicks)
        change = trajectory.energy_change + torch.where(change.isfinite(), change, torch.inf)
        return trajectory._replace(
            edge=PhasePoint(*(where(going, new, old) for new, old in zip(edge, trajectory.edge, strict=True))),
            taken=trajectory.taken + going,
            energy_change=torch.where(going, change, trajectory.energy_change),
        )

    def end(self, trajectory: "Trajectory", tuning: MCLMCTuning, keys: Key) -> tuple[PhasePoint, MCLMCInfo]:
        """Accept or reject the ends of adjusted trajectories."""
        change = trajectory.energy_change
        diverges = change > MAX_ENERGY_ERROR
        accept_prob = torch.where(diverges, 0.0, (-change).clamp(max=0).exp())
        accepted = one_uniform(keys, SUBTREE) < accept_prob
        pairs = zip(trajectory.edge, trajectory.start, strict=True)
        state = PhasePoint(*(where(accepted, new, old) for new, old in pairs))
        return state, self._info(accept_prob, accepted, diverges, trajectory.taken, change)

    def _unadjusted(
        self, target: Target, state: PhasePoint, tuning: MCLMCTuning, keys: Key
    ) -> tuple[PhasePoint, MCLMCInfo]:
        dim = state.position.shape[-1]
        noise = draw_momentum(keys, state.position)
        share = torch.expm1(2 * tuning.step_size / tuning.length).div(dim).sqrt().to(noise.dtype).unsqueeze(-1)
        known = (state.momentum != 0).any(-1)
        direction = unit(where(known, state.momentum + share * noise, noise))
        start = state._replace(momentum=direction)
        end, change = isokinetic_step(target, start, tuning.step_size, self._kicks)
        moves = change.isfinite() & (change <= MAX_ENERGY_ERROR)
        # A chain that cannot go on stays, and tries another direction next.
        stuck = state._replace(momentum=torch.zeros_like(direction))
        state = PhasePoint(*(where(moves, new, old) for new, old in zip(end, stuck, strict=True)))
        return state, self._info(moves.double(), moves, ~moves, torch.ones_like(moves, dtype=torch.int64), change)

    def _info(
        self, accept_prob: Tensor, accepted: Tensor, diverges: Tensor, steps: Tensor, change: Tensor
    ) -> MCLMCInfo:
        return MCLMCInfo(accept_prob, accepted, diverges, steps * (len(self._kicks) - 1), change)


class Trajectory(NamedTuple):
    """Adjusted trajectories on their way, `[num_chains, ...]` each.

    Attributes:
        start: Where they began.
        edge: Where they are.
        planned: How many steps they are to have, int64.
        taken: How many they have, int64.
        energy_change: By how much the energy has changed; infinite where it cannot be computed.
    """

    start: PhasePoint
    edge: PhasePoint
    planned: Tensor
    taken: Tensor
    energy_change: Tensor
