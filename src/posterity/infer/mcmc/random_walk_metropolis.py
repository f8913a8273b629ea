"""Random-walk Metropolis: steps that know nothing of the density but whether they went uphill."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.metropolis import MetropolisInfo, accept, either
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.tuned_kernel import TunedKernel
from posterity.infer.simulation import Program
from posterity.kernels import Key, normal

Proposal = Callable[[Key, Tensor], Tensor]


class RandomWalkState(NamedTuple):
    """Where chains of `RandomWalkMetropolis` are, in whitened space.

    Attributes:
        position: `[num_chains, dim]`.
        log_density: `[num_chains]`.
    """

    position: Tensor
    log_density: Tensor


def gaussian_steps(keys: Key, position: Tensor) -> Tensor:
    """Standard normal noise.

    Args:
        keys: One for each chain, `[num_chains, 2]`.
        position: Where the chains are, `[num_chains, dim]`.

    Returns:
        `[num_chains, dim]`.

    Example:
        >>> gaussian_steps(Key(0).fold_in(torch.arange(4)), torch.zeros(4, 3)).shape
        torch.Size([4, 3])
    """
    return normal(position.shape[-1:], source=keys, dtype=position.dtype, device=position.device)


class RandomWalkMetropolis(TunedKernel[RandomWalkState]):
    r"""Propose $u + \epsilon\,\xi$ with symmetric noise $\xi$, and accept by the ratio of the densities.

    For densities without a gradient, in few dimensions: the steps shrink as $1/\sqrt{dim}$.

    Args:
        model: A program whose continuous latent variables are drawn; marked discrete ones are summed out.
        log_density: Instead of a model: a log density of one flat vector `[dim]`.
        proposal: From keys `[num_chains, 2]` and positions in whitened space `[num_chains, dim]` to the noise $\xi$,
            `[num_chains, dim]`. A step from x to y must be as probable as one from y to x. For noise on a lattice turn
            the tuning off: `step_size=1.0, adapt_step_size=False, metric=None`.
        step_size: The first step size, in whitened space; None: $2.38/\sqrt{dim}$.
        target_accept: The mean acceptance probability that the step size is tuned for.
        metric: What is learnt of the target's shape in the warm-up: `"diagonal"`, `"dense"` or `"low_rank"`; None:
            nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both; or `proposal` is not callable.
        ValueError: A number is out of range; at a step: `proposal` returns another shape.

    Source: Metropolis et al. (1953), "Equation of State Calculations by Fast Computing Machines"; Roberts, Gelman and
    Gilks (1997), "Weak convergence and optimal scaling of random walk Metropolis algorithms", for step size and
    acceptance probability.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> kernel = RandomWalkMetropolis(log_density=lambda z: -0.5 * (z * z).sum())
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(4, 2))
        >>> tuning = Tuning(torch.full((4,), kernel.initial_step_size(2)))
        >>> state, info = kernel.step(target, state, tuning, Key(0).fold_in(torch.arange(4)))
        >>> state.position.shape, info.accept_prob.shape
        (torch.Size([4, 2]), torch.Size([4]))
    """

    has_gradient = False

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        proposal: Proposal = gaussian_steps,
        step_size: float | None = None,
        target_accept: float = 0.234,
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
        if not callable(proposal):
            raise TypeError(f"RandomWalkMetropolis: proposal must be callable, not a {type(proposal).__name__}")
        self.proposal = proposal

    def initial_step_size(self, dim: int) -> float:
        """2.38 over the root of the dimension."""
        return 2.38 / math.sqrt(dim)

    def init(self, target: Target, position: Tensor) -> RandomWalkState:
        """The state at positions `[num_chains, dim]`."""
        with torch.no_grad():
            return RandomWalkState(position, target.log_density(position))

    def step(
        self, target: Target, state: RandomWalkState, tuning: Tuning, keys: Key
    ) -> tuple[RandomWalkState, MetropolisInfo]:
        """Propose one point for each chain, and take it or stay."""
        noise = self.proposal(keys.at(0), state.position)
        _check_shape(noise, state.position)
        step_size = tuning.step_size.to(noise.dtype).unsqueeze(-1)
        proposed = self.init(target, state.position + step_size * noise)
        is_divergent = proposed.log_density.isnan() | proposed.log_density.isposinf()
        info = accept(proposed.log_density - state.log_density, is_divergent, keys.at(1))
        return either(info.is_accepted, proposed, state), info


def _check_shape(noise: Any, position: Tensor) -> None:
    if not isinstance(noise, Tensor) or noise.shape != position.shape:
        found = f"of shape {tuple(noise.shape)}" if isinstance(noise, Tensor) else f"a {type(noise).__name__}"
        raise ValueError(
            f"RandomWalkMetropolis: proposal must return noise of the positions' shape {tuple(position.shape)}, one "
            f"step for each chain, but returned {found}"
        )
