r"""Integrators of isokinetic dynamics: points that move at unit speed, and that the gradient turns.

$\dot u = p$ and $\dot p = (1 - p p^\top) g / (d - 1)$ with the log density's gradient $g$ in $d$ dimensions keep
$|p| = 1$, and leave the target with uniform directions $p$ unchanged. The steps are reversible: turn the direction
round, and the same step leads back.
"""

import torch
from torch import Tensor

from posterity.infer.mcmc.integrators import PhasePoint
from posterity.infer.mcmc.target import Target

# The shares of a step that the kicks have; between two of them lies a drift, all equally long. McLachlan's weight is
# the one that makes the two leading error terms together smallest.
_OUTER = 0.19318332750378357
KICKS = {"leapfrog": (0.5, 0.5), "minimal_norm": (_OUTER, 1 - 2 * _OUTER, _OUTER)}


def isokinetic_step(
    target: Target, point: PhasePoint, step_size: Tensor, kicks: tuple[float, ...]
) -> tuple[PhasePoint, Tensor]:
    """One step of each chain; it costs a gradient for each drift.

    Args:
        target: What is drawn from.
        point: Where chains are; the momentum is a direction of length 1.
        step_size: `[num_chains]`, positive.
        kicks: The shares of the step that the kicks have, palindromic: one of `KICKS`.

    Returns:
        The new point, and the energy change in nats `[num_chains]`, float64: that of the kinetic energy, which is the
        logarithm of how much the directions' volume shrinks, less that of the log density. For the exact dynamics it
        is 0; a Metropolis step accepts with the exponential of its negative.

    Source: Robnik, De Luca, Silverstein and Seljak (2023), "Microcanonical Hamiltonian Monte Carlo", section 4; Ver
    Steeg and Galstyan (2021), "Hamiltonian dynamics with non-Newtonian momentum for rapid sampling", for the exact
    kick; Robnik, Cohn-Gordon and Seljak (2025), "Metropolis Adjusted Microcanonical Hamiltonian Monte Carlo", for the
    acceptance.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> normal = LogDensity(lambda z: -0.5 * (z * z).sum(), dim=2)
        >>> u, p = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> start = PhasePoint(u, p, *normal.value_and_grad(u))
        >>> end, change = isokinetic_step(normal, start, torch.tensor([0.1]), KICKS["leapfrog"])
        >>> end.momentum.norm(dim=-1), bool(change.abs() < 1e-4)
        (tensor([1.0000]), True)
    """
    position, direction, value, gradient = point
    drift = (step_size / (len(kicks) - 1)).to(position.dtype).unsqueeze(-1)
    direction, kinetic = _kicked(direction, gradient, kicks[0] * step_size)
    for kick in kicks[1:]:
        position = position + drift * direction
        value, gradient = target.value_and_grad(position)
        direction, change = _kicked(direction, gradient, kick * step_size)
        kinetic = kinetic + change
    change = kinetic - (value.double() - point.log_density.double())
    return PhasePoint(position, direction, value, gradient), change


def unit(vector: Tensor) -> Tensor:
    """Vectors `[*batch, dim]` at length 1."""
    size: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / size


def _kicked(direction: Tensor, gradient: Tensor, step_size: Tensor) -> tuple[Tensor, Tensor]:
    r"""The direction after a time at one gradient, exactly, and the change of kinetic energy.

    With $\delta = \epsilon |g| / (d - 1)$, $e = g / |g|$ and $c = p \cdot e$ the new direction is that of $p + e (\sinh
    \delta + c (\cosh \delta - 1))$, and the energy grows by $(d - 1) \log(\cosh \delta + c \sinh \delta)$; both are
    written in $r = 1 - e^{-\delta}$, which does not overflow.
    """
    freedom, own, slope = direction.shape[-1] - 1, direction.double(), gradient.double()
    size = torch.linalg.vector_norm(slope, dim=-1)
    safe = torch.where(size == 0, 1.0, size)
    cosine = (own * slope).sum(-1) / safe
    delta = step_size.double() * size / freedom
    rest = -torch.expm1(-delta)
    shrinks = 2 * (1 - rest)
    pull = rest * (2 + (cosine - 1) * rest) / safe
    turned = torch.addcmul(shrinks.unsqueeze(-1) * own, pull.unsqueeze(-1), slope)
    kinetic = freedom * (delta + torch.log1p((cosine - 1) * rest * (1 - 0.5 * rest)))
    return unit(turned).to(direction.dtype), kinetic
