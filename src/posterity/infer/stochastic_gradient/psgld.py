"""SGLD whose steps are scaled, coordinate by coordinate, by the size that gradients have had of late."""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.simulation import Program
from posterity.infer.stochastic_gradient.kernel import Gradient, StochasticGradientKernel, check_share
from posterity.infer.stochastic_gradient.schedules import Schedule
from posterity.infer.stochastic_gradient.sgld import SGLDInfo, as_scalars


class PSGLDState(NamedTuple):
    """Where the chains are, and what their preconditioner has learnt.

    Attributes:
        position: `[num_chains, dim]`.
        square: The moving average of the squared gradient, `[num_chains, dim]`.
        square_slope: The moving average of its derivative, each coordinate by itself, `[num_chains, dim]`; zeros
            without the correction.
    """

    position: Tensor
    square: Tensor
    square_slope: Tensor


class PSGLD(StochasticGradientKernel[PSGLDState]):
    r"""SGLD preconditioned as RMSprop is.

    $\theta' = \theta + h (G g + \Gamma) + \sqrt{2 h T G} \, \xi$ with the diagonal preconditioner
    $G = 1 / (\lambda + \sqrt{V})$, where V is the moving average of $g^2$ with this step's gradient included. Since G
    divides by the gradient's own size, h is about the distance that a step moves: far greater than SGLD's.

    G changes with the position, so that an exact sampler needs the drift $\Gamma_i = T \, \partial G_i / \partial
    \theta_i$. It costs two more gradients a step (a difference along a random direction, on the same minibatch, tells
    the derivative of V), so most people leave it away, as this does by default. What is then drawn from is the
    posterior density divided by G, as far as G follows the gradient at the chain's place: harmless where the noise of
    minibatches makes most of V, plainly wrong for full-data gradients. Even with $\Gamma$ a part `1 - decay` of V is
    the step's own gradient, which biases noisy drifts a little.

    Args:
        model: A program; None for a loop of one's own.
        step_size: h, a number or a schedule.
        decay: How much of V stays from step to step.
        stability: $\lambda$, on the scale of the gradient of the whole log posterior: it bounds G.
        correction: Whether to add $\Gamma$.
        temperature: T, a number or a schedule.
        init: Where chains start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: The model is not callable, or an argument is neither a number nor a function.
        ValueError: A number is out of range.

    Source: Li, Chen, Carlson, Carin (2016), "Preconditioned stochastic gradient Langevin dynamics for deep neural
    networks", algorithm 1, whose step size is 2 h. Its $\Gamma$ takes V's derivative through the last gradient alone;
    as h goes to 0 all the gradients in the average are taken at the same place, and all of them count here.

    Example:
        >>> kernel = PSGLD(step_size=0.01, decay=0.99, stability=0.1)
        >>> state = kernel.init(torch.ones(2, 1))
        >>> state, info = kernel.step(state, lambda z: -z, torch.zeros(2, 1, 1), 0.01)
        >>> state.position
        tensor([[0.9500],
                [0.9500]])
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        step_size: float | Schedule,
        decay: float = 0.99,
        stability: float = 1e-5,
        correction: bool = False,
        temperature: float | Schedule = 1.0,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, step_size=step_size, temperature=temperature, init=init)
        check_share(self, "decay", decay, open_end=True)
        if not stability > 0:
            raise ValueError(f"PSGLD: stability must be positive, not {stability}")
        self.decay, self.stability, self.correction = decay, stability, correction
        self.num_noises = 2 if correction else 1  # the second one's signs are the random direction

    def init(self, position: Tensor) -> PSGLDState:
        """The state at positions, `[num_chains, dim]`."""
        return PSGLDState(position, torch.zeros_like(position), torch.zeros_like(position))

    def step(
        self,
        state: PSGLDState,
        gradient: Gradient,
        noise: Tensor,
        step_size: float | Tensor,
        temperature: float | Tensor = 1.0,
    ) -> tuple[PSGLDState, SGLDInfo]:
        """Take a transition; see `StochasticGradientKernel.step`."""
        slope = gradient(state.position)
        size, heat = as_scalars(slope, step_size, temperature)
        square = self.decay * state.square + (1 - self.decay) * slope.square()
        scale = 1 / (self.stability + square.sqrt())
        drift, square_slope = scale * slope, state.square_slope
        if self.correction:
            # A difference over the length of the step's own noise is off by no more than the step is.
            along = (2 * size * scale).sqrt() * torch.where(noise[:, 1] < 0, -1.0, 1.0)
            curvature = (gradient(state.position + along) - gradient(state.position - along)) / (2 * along)
            square_slope = self.decay * square_slope + (1 - self.decay) * 2 * slope * curvature
            root = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()
            drift = drift - heat * scale.square() * square_slope / (2 * root)
        position = state.position + size * drift + (2 * size * heat * scale).sqrt() * noise[:, 0]
        info = SGLDInfo(size, heat, torch.linalg.vector_norm(slope, dim=-1))
        return PSGLDState(position, square, square_slope), info
