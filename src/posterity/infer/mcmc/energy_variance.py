"""Step sizes of integrators that no Metropolis step corrects: by how far the energy strays."""

from typing import NamedTuple

import torch
from torch import Tensor

# How many steps the running mean remembers; and over how many of its standard deviations an estimate is trusted.
_MEMORY, _TRUST = 150, 1.5
# What a step that diverged shortens the next ones to.
_RETREAT = 0.8


class EnergyVariance(NamedTuple):
    r"""Tunes step sizes to a given variance of the energy change in each dimension.

    The variance grows like the sixth power of the step size, so each step $\epsilon$ with energy change $\Delta$ in $d$
    dimensions gives an estimate $\epsilon^{-6} \Delta^2 / (d v)$ of the inverse sixth power of the right one.

    Attributes:
        step_size: The step size to take next, `[num_chains]`, float64; so are the others.
        total: The weighted sum of the estimates.
        weight: The sum of the weights.
        largest: No step is to be larger: one that was has diverged.

    Source: Robnik, De Luca, Silverstein and Seljak (2023), "Microcanonical Hamiltonian Monte Carlo", section 5.

    Example:
        >>> tuner = EnergyVariance.start(torch.ones(1))
        >>> tuner = tuner.update(torch.tensor([1.0]), torch.tensor([False]), dim=2, variance=5e-4)
        >>> bool(tuner.step_size < 1)  # the energy changed by far too much
        True
    """

    step_size: Tensor
    total: Tensor
    weight: Tensor
    largest: Tensor

    @classmethod
    def start(cls, step_size: Tensor) -> "EnergyVariance":
        """Begin at step sizes."""
        step_size = step_size.double()
        zero = torch.zeros_like(step_size)
        return cls(step_size, zero, zero, torch.full_like(step_size, torch.inf))

    def update(self, energy_change: Tensor, is_divergent: Tensor, dim: int, variance: float) -> "EnergyVariance":
        """After a step with this energy change `[num_chains]`, tune to a variance in each of `dim` dimensions."""
        ratio = torch.where(is_divergent, 0.0, energy_change).square() / (dim * variance) + 1e-8
        # Estimates far from what is wanted come from far from it, or from chance; they count less.
        weight = torch.exp(-0.5 * (ratio.log() / (6 * _TRUST)).square())
        keeps = (_MEMORY - 1) / (_MEMORY + 1)
        total = keeps * self.total + weight * ratio / self.step_size**6
        mass = keeps * self.weight + weight
        largest = torch.where(is_divergent, _RETREAT * self.step_size, self.largest)
        step_size = torch.where(is_divergent, _RETREAT * self.step_size, (mass / total) ** (1 / 6))
        return EnergyVariance(
            torch.minimum(step_size, largest),
            torch.where(is_divergent, self.total, total),
            torch.where(is_divergent, self.weight, mass),
            largest,
        )

    def final(self) -> Tensor:
        """The step sizes to keep."""
        return self.step_size
