r"""Integrators of Hamilton's equations: reversible, volume-preserving steps for chains of a batch.

The energy is $-\log \pi(u) + |p|^2 / 2$: position and momentum are whitened, the mass matrix is the identity.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

ValueAndGrad = Callable[[Tensor], tuple[Tensor, Tensor]]


class PhasePoint(NamedTuple):
    """A point of phase space, with what is known of the target there.

    Attributes:
        position: `[*batch, dim]`.
        momentum: `[*batch, dim]`.
        log_density: `[*batch]`.
        gradient: Of the log density, `[*batch, dim]`.
    """

    position: Tensor
    momentum: Tensor
    log_density: Tensor
    gradient: Tensor


# From a target, position, momentum, gradient and step size to the next point.
Integrator = Callable[[ValueAndGrad, Tensor, Tensor, Tensor, Tensor], PhasePoint]


def velocity_verlet(
    value_and_grad: ValueAndGrad, position: Tensor, momentum: Tensor, gradient: Tensor, step_size: Tensor
) -> PhasePoint:
    """Half a kick, a drift, half a kick: the leapfrog, one gradient a step.

    Args:
        value_and_grad: The target's log density and its gradient.
        position: `[*batch, dim]`.
        momentum: `[*batch, dim]`.
        gradient: Of the log density at the position, `[*batch, dim]`.
        step_size: `[*batch]`; a negative one goes back in time.

    Source: Neal (2011), "MCMC using Hamiltonian dynamics", equations 2.28 to 2.30. The energy is off by O(step_size^2).

    Example:
        >>> import torch
        >>> def normal(u):
        ...     return -0.5 * u.square().sum(-1), -u
        >>> u, p = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        >>> velocity_verlet(normal, u, p, -u, torch.tensor([0.2])).position
        tensor([[0.9800]])
    """
    step = step_size.to(position.dtype).unsqueeze(-1)
    momentum = momentum + 0.5 * step * gradient
    position = position + step * momentum
    log_density, gradient = value_and_grad(position)
    return PhasePoint(position, momentum + 0.5 * step * gradient, log_density, gradient)


# Where ((1 - 6 x + 6 x^2) / 12)^2 + ((1 - 6 x) / 24)^2 is smallest: the leading error terms' coefficients, squared.
OUTER_KICK = 0.19318332750378364


def minimal_norm(
    value_and_grad: ValueAndGrad, position: Tensor, momentum: Tensor, gradient: Tensor, step_size: Tensor
) -> PhasePoint:
    """Three kicks around two drifts of half a step, weighted for the smallest error; two gradients a step.

    At twice the leapfrog's step size it costs the same, and its energy is off by less.

    Args:
        value_and_grad: The target's log density and its gradient.
        position: `[*batch, dim]`.
        momentum: `[*batch, dim]`.
        gradient: Of the log density at the position, `[*batch, dim]`.
        step_size: `[*batch]`; a negative one goes back in time.

    Source: McLachlan (1995), "On the numerical integration of ordinary differential equations by symmetric composition
    methods", section 4; Omelyan, Mryglod and Folk (2002), "Optimized Verlet-like algorithms for molecular dynamics
    simulations". The energy is off by O(step_size^2).

    Example:
        >>> import torch
        >>> def normal(u):
        ...     return -0.5 * u.square().sum(-1), -u
        >>> u, p = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        >>> minimal_norm(normal, u, p, -u, torch.tensor([0.2])).position
        tensor([[0.9800]])
    """
    step = step_size.to(position.dtype).unsqueeze(-1)
    momentum = momentum + OUTER_KICK * step * gradient
    position = position + 0.5 * step * momentum
    _, gradient = value_and_grad(position)
    momentum = momentum + (1 - 2 * OUTER_KICK) * step * gradient
    position = position + 0.5 * step * momentum
    log_density, gradient = value_and_grad(position)
    return PhasePoint(position, momentum + OUTER_KICK * step * gradient, log_density, gradient)
