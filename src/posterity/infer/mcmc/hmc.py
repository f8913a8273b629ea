"""Hamiltonian Monte Carlo with trajectories of one length."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.hamiltonian import HamiltonianKernel
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import (
    LEAF,
    MAX_ENERGY_ERROR,
    SUBTREE,
    Edge,
    HamiltonianInfo,
    HamiltonianState,
    draw_momentum,
    energy_of,
    leapfrog,
    one_uniform,
    where,
)
from posterity.infer.simulation import Program
from posterity.kernels import Key


class HMC(HamiltonianKernel):
    """Hamiltonian Monte Carlo: a trajectory of a given length, accepted or rejected by its energy error.

    Args:
        model: A program whose continuous latent variables are drawn; marked discrete ones are summed out.
        log_density: Instead of a model: a log density of one flat vector `[dim]`, differentiable.
        trajectory_length: In time, in whitened space, where the target has about unit scales: a quarter of a period of
            a normal law is pi / 2.
        num_steps: Instead of the length: how many leapfrogs.
        jitter: By which share of itself the step size varies from transition to transition, uniformly, so that no
            period of the target is met again and again.
        max_num_steps: How many leapfrogs a trajectory may have.
        step_size: The first step size, in whitened space; None: found by trial.
        target_accept: The acceptance probability that the step size is tuned for.
        metric: What is learnt of the target's shape in the warm-up: `"diagonal"`, `"dense"` or `"low_rank"`; None:
            nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both; or both a length and a number of steps.
        ValueError: A number is out of range.

    Source: Neal (2011), "MCMC Using Hamiltonian Dynamics".

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> kernel = HMC(log_density=lambda z: -0.5 * (z * z).sum(), num_steps=5)
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(4, 2))
        >>> keys = Key(torch.arange(8, dtype=torch.int32).reshape(4, 2))
        >>> state, info = kernel.step(target, state, Tuning(torch.full((4,), 0.3)), keys)
        >>> info.num_steps
        tensor([5, 5, 5, 5])
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        trajectory_length: float | None = None,
        num_steps: int | None = None,
        jitter: float = 0.2,
        max_num_steps: int = 1024,
        step_size: float | None = None,
        target_accept: float = 0.8,
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
        if trajectory_length is not None and num_steps is not None:
            raise TypeError("HMC: give trajectory_length or num_steps, not both")
        if trajectory_length is not None and not 0 < trajectory_length < math.inf:
            raise ValueError(f"HMC: trajectory_length must be a positive number, not {trajectory_length!r}")
        for name, number in (("num_steps", num_steps), ("max_num_steps", max_num_steps)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ValueError(f"HMC: {name} must be a whole number of at least 1, not {number!r}")
        if not 0 <= jitter < 1:
            raise ValueError(f"HMC: jitter must be at least 0 and less than 1, not {jitter!r}")
        self.trajectory_length = math.pi / 2 if trajectory_length is None else trajectory_length
        self.num_steps, self.jitter = num_steps, jitter
        self.max_num_steps = max_num_steps

    def step(
        self, target: Target, state: HamiltonianState, tuning: Tuning, keys: Key
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        """Take a transition; chains whose steps are large wait for the others, so this looks at values."""
        momentum = draw_momentum(keys, state.position)
        energy = energy_of(momentum, state.log_density)
        zero = torch.zeros_like(energy, dtype=torch.int64)
        varied = 1 + self.jitter * (2 * one_uniform(keys, LEAF) - 1)
        step = tuning.step_size * varied
        planned = self._planned(step)
        edge, value = Edge(state.position, momentum, state.gradient), state.log_density
        taken, divergent = zero, torch.zeros_like(energy, dtype=torch.bool)
        error = torch.zeros_like(energy)
        going = taken < planned
        while bool(going.any()):
            new_edge, new_value = leapfrog(target, edge, step)
            edge = Edge(*(where(going, new, old) for new, old in zip(new_edge, edge, strict=True)))
            value = torch.where(going, new_value, value)
            error = (energy_of(edge.momentum, value) - energy).nan_to_num(nan=torch.inf, posinf=torch.inf)
            divergent = divergent | (error > MAX_ENERGY_ERROR)
            taken = taken + going
            going = (taken < planned) & ~divergent
        accept_prob = torch.where(divergent, 0.0, (-error).clamp(max=0).exp())
        moves = ~divergent & (one_uniform(keys, SUBTREE).log() < -error)
        new = HamiltonianState(edge.position, value, edge.gradient)
        state = HamiltonianState(*(where(moves, a, b) for a, b in zip(new, state, strict=True)))
        return state, HamiltonianInfo(accept_prob, divergent, taken, zero, energy)

    def _planned(self, step: Tensor) -> Tensor:
        """How many leapfrogs each chain's trajectory has."""
        if self.num_steps is not None:
            return torch.full_like(step, self.num_steps, dtype=torch.int64)
        return (self.trajectory_length / step).ceil().clamp(1, self.max_num_steps).long()
