"""The Metropolis-adjusted Langevin algorithm: random steps that drift uphill."""

from collections.abc import Callable

from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.metropolis import MetropolisInfo, accept, either
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import MAX_ENERGY_ERROR, HamiltonianState
from posterity.infer.mcmc.tuned_kernel import TunedKernel
from posterity.infer.simulation import Program
from posterity.kernels import Key, normal


class MALA(TunedKernel[HamiltonianState]):
    r"""Propose $u + \tfrac{\epsilon^2}{2} \nabla \log \pi(u) + \epsilon\,\xi$ with normal noise $\xi$.

    The proposal is a step of the Langevin diffusion, whose error the Metropolis-Hastings rule takes back. A transition
    costs one gradient.

    Args:
        model: A program whose continuous latent variables are drawn; marked discrete ones are summed out.
        log_density: Instead of a model: a log density of one flat vector `[dim]`, differentiable.
        step_size: The first step size, in whitened space; None: found by trial, or $1.65\,dim^{-1/6}$ where it is not
            tuned.
        target_accept: The mean acceptance probability that the step size is tuned for.
        metric: What is learnt of the target's shape in the warm-up: `"diagonal"`, `"dense"` or `"low_rank"`; None:
            nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both.
        ValueError: A number is out of range.

    Source: Roberts and Tweedie (1996), "Exponential convergence of Langevin distributions and their discrete
    approximations", section 1.4; Roberts and Rosenthal (1998), "Optimal scaling of discrete approximations to Langevin
    diffusions", for step size and acceptance probability.

    Example:
        >>> import torch
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> kernel = MALA(log_density=lambda z: -0.5 * (z * z).sum())
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(4, 2))
        >>> tuning = Tuning(torch.full((4,), kernel.initial_step_size(2)))
        >>> state, info = kernel.step(target, state, tuning, Key(0).fold_in(torch.arange(4)))
        >>> state.gradient.shape, info.accept_prob.shape
        (torch.Size([4, 2]), torch.Size([4]))
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        step_size: float | None = None,
        target_accept: float = 0.574,
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

    def initial_step_size(self, dim: int) -> float:
        """1.65 over the sixth root of the dimension."""
        return 1.65 * float(dim ** (-1 / 6))

    def init(self, target: Target, position: Tensor) -> HamiltonianState:
        """The state at positions `[num_chains, dim]`."""
        return HamiltonianState.at(target, position)

    def step(
        self, target: Target, state: HamiltonianState, tuning: Tuning, keys: Key
    ) -> tuple[HamiltonianState, MetropolisInfo]:
        """Propose one point for each chain, and take it or stay."""
        like = state.position
        noise = normal(like.shape[-1:], source=keys.at(0), dtype=like.dtype, device=like.device)
        step_size = tuning.step_size.to(like.dtype).unsqueeze(-1)
        proposed = self.init(target, _drifted(state, step_size) + step_size * noise)
        # The noise that would lead back. Both normal densities have one normaliser, which cancels.
        back = (state.position - _drifted(proposed, step_size)) / step_size
        correction = 0.5 * (noise.square().sum(-1) - back.square().sum(-1))
        log_ratio = proposed.log_density - state.log_density + correction
        is_divergent = ~(log_ratio > -MAX_ENERGY_ERROR) | log_ratio.isposinf()
        info = accept(log_ratio, is_divergent, keys.at(1))
        return either(info.is_accepted, proposed, state), info


def _drifted(state: HamiltonianState, step_size: Tensor) -> Tensor:
    """The mean of the proposal."""
    return state.position + 0.5 * step_size.square() * state.gradient
