"""Stochastic-gradient Langevin dynamics: a gradient step, and noise of the variance that makes it a sampler."""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.infer.stochastic_gradient.kernel import Gradient, StochasticGradientKernel


class SGLDState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: `[num_chains, dim]`.
    """

    position: Tensor


class SGLDInfo(NamedTuple):
    """What is known of a transition.

    Attributes:
        step_size: The step size, a scalar.
        temperature: The temperature, a scalar.
        gradient_norm: The norm of the gradient's estimate, `[num_chains]`.
    """

    step_size: Tensor
    temperature: Tensor
    gradient_norm: Tensor


class SGLD(StochasticGradientKernel[SGLDState]):
    r"""Stochastic-gradient Langevin dynamics.

    $\theta' = \theta + h \, g(\theta) + \sqrt{2 h T} \, \xi$ with step size h, temperature T, an estimate g of the
    gradient of the log posterior, and standard normal $\xi$. On a normal posterior with variance $\sigma^2$ the
    variance of the draws is $(\sigma^2 T + h \sigma^2 V / 2) / (1 - h / 2 \sigma^2)$, where V is the variance of g:
    take h well below $2 T / V$ and $\sigma^2$.

    Args:
        model: A program; None for a loop of one's own.
        step_size: h, on the scale of the gradient of the whole log posterior: a number, or a schedule.
        temperature: T, a number or a schedule.
        init: Where chains start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: The model is not callable, or an argument is neither a number nor a function.
        ValueError: The step size is not positive, or the temperature negative.

    Source: Welling and Teh (2011), "Bayesian learning via stochastic gradient Langevin dynamics", equation 4, whose
    step size is 2 h.

    Example:
        >>> kernel = SGLD(step_size=0.1)
        >>> state = kernel.init(torch.ones(2, 1))
        >>> state, info = kernel.step(state, lambda z: -z, torch.zeros(2, 1, 1), 0.1)
        >>> state.position
        tensor([[0.9000],
                [0.9000]])
    """

    def init(self, position: Tensor) -> SGLDState:
        """The state at positions, `[num_chains, dim]`."""
        return SGLDState(position)

    def step(
        self,
        state: SGLDState,
        gradient: Gradient,
        noise: Tensor,
        step_size: float | Tensor,
        temperature: float | Tensor = 1.0,
    ) -> tuple[SGLDState, SGLDInfo]:
        """Take a transition; see `StochasticGradientKernel.step`."""
        slope = gradient(state.position)
        size, heat = as_scalars(slope, step_size, temperature)
        position = state.position + size * slope + (2 * size * heat).sqrt() * noise[:, 0]
        return SGLDState(position), SGLDInfo(size, heat, torch.linalg.vector_norm(slope, dim=-1))


def as_scalars(like: Tensor, *numbers: float | Tensor) -> list[Tensor]:
    """Numbers as tensors beside another one."""
    return [number if isinstance(number, Tensor) else like.new_tensor(number) for number in numbers]
