"""Stochastic-gradient Hamiltonian Monte Carlo: momentum with friction, whose noise replaces the accept step."""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.simulation import Program
from posterity.infer.stochastic_gradient.kernel import Gradient, StochasticGradientKernel, check_share
from posterity.infer.stochastic_gradient.schedules import Schedule
from posterity.infer.stochastic_gradient.sgld import as_scalars


class SGHMCState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: `[num_chains, dim]`.
        momentum: In units in which its variance is the temperature, `[num_chains, dim]`.
    """

    position: Tensor
    momentum: Tensor


class SGHMCInfo(NamedTuple):
    """What is known of a transition.

    Attributes:
        step_size: The step size, a scalar.
        temperature: The temperature, a scalar.
        gradient_norm: The norm of the gradient's estimate, `[num_chains]`.
        kinetic_temperature: The mean of the squared momentum over coordinates, `[num_chains]`: on average the
            temperature, and more where the noise of the gradient heats the chain.
    """

    step_size: Tensor
    temperature: Tensor
    gradient_norm: Tensor
    kinetic_temperature: Tensor


class SGHMC(StochasticGradientKernel[SGHMCState]):
    r"""Stochastic-gradient Hamiltonian Monte Carlo.

    A momentum r moves the position, $\theta' = \theta + \sqrt{h} \, r'$, loses the share a to friction at each step,
    and is refreshed by noise: $r' = (1 - a) r + \sqrt{h} \, g + \sqrt{2 a T - h \hat V} \, \xi$. With a = 1 this is
    SGLD of the same step size; small a lets the chain run further in one direction, as momentum does in optimisation.

    The second-order integrator goes half a step with the momentum, kicks it by half the gradient, rubs and refreshes
    it, kicks it again by the same gradient, and goes the other half. That takes one gradient a step as well, but draws
    from a normal posterior without any bias of the step size, where the first-order one's is of the order of h.

    Args:
        model: A program; None for a loop of one's own.
        step_size: h, on the scale of the gradient of the whole log posterior: a number, or a schedule. The square of
            the time that a step simulates, the learning rate of Chen et al.
        friction: a, the share of the momentum that is lost at each step, in (0, 1].
        gradient_variance: $\hat V$, what is known of the variance of the gradient's estimates: that much less noise is
            injected, as far as there is any. A number, or `[dim]`.
        second_order: Whether the integrator is the symmetric one.
        temperature: T, a number or a schedule.
        init: Where chains start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: The model is not callable, or an argument is neither a number nor a function.
        ValueError: A number is out of range.

    Source: Chen, Fox, Guestrin (2014), "Stochastic gradient Hamiltonian Monte Carlo", equation 15; Chen, Ding, Carin
    (2015), "On the convergence of stochastic gradient MCMC algorithms with high-order integrators", for the symmetric
    one, here with the Ornstein-Uhlenbeck part exact as in ABOBA of Leimkuhler and Matthews (2013), "Rational
    construction of stochastic numerical methods for molecular sampling".

    Example:
        >>> kernel = SGHMC(step_size=0.01, friction=0.1, second_order=False)
        >>> state = kernel.init(torch.ones(2, 1))
        >>> state, info = kernel.step(state, lambda z: -z, torch.zeros(2, 1, 1), 0.01)
        >>> state.momentum
        tensor([[-0.1000],
                [-0.1000]])
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        step_size: float | Schedule,
        friction: float = 0.1,
        gradient_variance: float | Tensor = 0.0,
        second_order: bool = True,
        temperature: float | Schedule = 1.0,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, step_size=step_size, temperature=temperature, init=init)
        check_share(self, "friction", friction)
        if not bool((torch.as_tensor(gradient_variance) >= 0).all()):
            raise ValueError(f"SGHMC: gradient_variance must not be negative, but is {gradient_variance}")
        self.friction, self.gradient_variance, self.second_order = friction, gradient_variance, second_order

    def init(self, position: Tensor) -> SGHMCState:
        """The state at positions, `[num_chains, dim]`, at rest."""
        return SGHMCState(position, torch.zeros_like(position))

    def step(
        self,
        state: SGHMCState,
        gradient: Gradient,
        noise: Tensor,
        step_size: float | Tensor,
        temperature: float | Tensor = 1.0,
    ) -> tuple[SGHMCState, SGHMCInfo]:
        """Take a transition; see `StochasticGradientKernel.step`."""
        size, heat = as_scalars(state.position, step_size, temperature)
        time, kept = size.sqrt(), 1 - self.friction
        if self.second_order:
            middle = state.position + time / 2 * state.momentum
            slope = gradient(middle)
            spread = self._injected(heat * (1 - kept**2), size * ((1 + kept) / 2) ** 2)
            momentum = kept * (state.momentum + time / 2 * slope) + spread * noise[:, 0] + time / 2 * slope
            position = middle + time / 2 * momentum
        else:
            slope = gradient(state.position)
            spread = self._injected(2 * self.friction * heat, size)
            momentum = kept * state.momentum + time * slope + spread * noise[:, 0]
            position = state.position + time * momentum
        kinetic = momentum.square().mean(-1)
        info = SGHMCInfo(size, heat, torch.linalg.vector_norm(slope, dim=-1), kinetic)
        return SGHMCState(position, momentum), info

    def _injected(self, variance: Tensor, gain: Tensor) -> Tensor:
        """The standard deviation of the noise, where the gradient's own noise counts times `gain`."""
        if isinstance(self.gradient_variance, Tensor):
            return (variance - gain * self.gradient_variance).clamp(min=0).sqrt()
        if self.gradient_variance == 0:
            return variance.sqrt()
        return (variance - gain * self.gradient_variance).clamp(min=0).sqrt()
