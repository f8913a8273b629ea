r"""The leapfrog, an integrator of Hamilton's equations: reversible, volume-preserving steps for chains of a batch.

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
