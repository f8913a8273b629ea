"""Resampling: particles with weights become particles of equal weight, without bias.

Each function takes log weights and returns the indices of those that live on. The number of copies of particle i has
the mean `num * W_i` in all of them; they differ in its variance.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from posterity.kernels import Key, Source, uniform

Resampling = Literal["systematic", "stratified", "residual", "multinomial"]


def systematic(log_weights: Tensor, num: int, source: Source = None) -> Tensor:
    """Take the particles that an evenly spaced comb meets, shifted by one uniform number.

    Every particle has `num * W_i` copies, rounded down or up.

    Args:
        log_weights: `[num_particles]`, not normalised.
        num: How many to take.
        source: Where the random number comes from.

    Returns:
        Indices, `[num]`, in increasing order.

    Source: Carpenter, Clifford and Fearnhead (1999), "Improved particle filter for nonlinear problems".

    Example:
        >>> systematic(torch.zeros(3), 3)
        tensor([0, 1, 2])
    """
    shift = uniform((1,), source=source, dtype=torch.float64, device=log_weights.device)
    return _at_levels(log_weights, _comb(log_weights, num, shift))


def stratified(log_weights: Tensor, num: int, source: Source = None) -> Tensor:
    """Take a particle at a uniform level in each of `num` equal intervals.

    Its variance is nowhere above that of `multinomial`. Arguments and result are those of `systematic`.

    Source: Kitagawa (1996), "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models"; Douc and
    Cappé (2005), "Comparison of resampling schemes for particle filtering", section 3.

    Example:
        >>> stratified(torch.tensor([0.0, -torch.inf]), 2)
        tensor([0, 0])
    """
    shifts = uniform((num,), source=source, dtype=torch.float64, device=log_weights.device)
    return _at_levels(log_weights, _comb(log_weights, num, shifts))


def multinomial(log_weights: Tensor, num: int, source: Source = None) -> Tensor:
    """Draw particles independently, with their weights as probabilities.

    Arguments and result are those of `systematic`.

    Source: Gordon, Salmond and Smith (1993), "Novel approach to nonlinear/non-Gaussian Bayesian state estimation".

    Example:
        >>> multinomial(torch.tensor([0.0, -torch.inf]), 2)
        tensor([0, 0])
    """
    levels = uniform((num,), source=source, dtype=torch.float64, device=log_weights.device)
    return _at_levels(log_weights, levels.sort().values)


def residual(log_weights: Tensor, num: int, source: Source = None) -> Tensor:
    """Take each particle `num * W_i` times, rounded down, and draw the rest independently by what is left over.

    Its variance is nowhere above that of `multinomial`. Arguments and result are those of `systematic`.

    Source: Liu and Chen (1998), "Sequential Monte Carlo methods for dynamic systems"; Douc and Cappé (2005), section 3.

    Example:
        >>> residual(torch.tensor([0.0, -torch.inf]), 2)
        tensor([0, 0])
    """
    wanted = num * log_weights.double().softmax(0)
    # What rounding has taken from a whole number must not cost a copy.
    kept = (wanted + 1e-9).floor()
    rest = (wanted - kept).clamp(min=0)
    before = kept.cumsum(0)
    places = torch.arange(num, dtype=torch.float64, device=log_weights.device)
    # The first places belong to whole copies; those that are left, to independent draws.
    whole = torch.searchsorted(before, places, right=True).clamp(max=len(wanted) - 1)
    drawn = multinomial(rest.log(), num, source)
    shuffled = drawn[uniform((num,), source=_second(source), dtype=torch.float64, device=rest.device).argsort()]
    return torch.where(places < before[-1], whole, shuffled).sort().values


RESAMPLING: dict[str, Callable[[Tensor, int, Source], Tensor]] = {
    "systematic": systematic,
    "stratified": stratified,
    "residual": residual,
    "multinomial": multinomial,
}


def _comb(log_weights: Tensor, num: int, shift: Tensor) -> Tensor:
    teeth = torch.arange(num, dtype=torch.float64, device=log_weights.device)
    return (teeth + shift) / num


def _at_levels(log_weights: Tensor, levels: Tensor) -> Tensor:
    """The particles at which the sum of the weights passes levels in [0, 1)."""
    passed = log_weights.double().softmax(0).cumsum(0)
    # Relative to the last sum, because rounding leaves it beside 1.
    return torch.searchsorted(passed, levels * passed[-1], right=True).clamp(max=len(log_weights) - 1)


def _second(source: Source) -> Source:
    """Other numbers of the same source."""
    return source.fold_in(1) if isinstance(source, Key) else source
