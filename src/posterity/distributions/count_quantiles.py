"""Quantiles of counts in eager code: a guess from the first four moments, and steps of one from there."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from posterity.distributions.base import Distribution
from posterity.distributions.binary_odds import BinaryOdds
from posterity.distributions.quantiles import integer_quantile
from posterity.distributions.supports import support_ends
from posterity.kernels.samplers.noise import is_eager

D = TypeVar("D", bound=Distribution)

# Counts up to which a mass from factorials in float64 has the digits that a step needs.
ROUGH_LIMIT = 2.0**20

# The guess is mostly right, or off by one; what is left after these steps is searched for over all integers.
_STEPS = 8
_BLOCK = 1 << 16


def count_quantile(
    d: D, level: Tensor, skewness: Tensor, excess_kurtosis: Tensor, mass: Callable[[D, Tensor], Tensor]
) -> Tensor:
    """The least integer whose cdf reaches `level`, as `integer_quantile` gives it; the tails decide, not the guess.

    Args:
        d: A distribution of counts, with closed forms of both tails, mean and variance.
        level: Probabilities in [0, 1] that broadcast against the batch.
        skewness: Its third standardised moment, of the batch shape.
        excess_kurtosis: Its fourth one, less 3.
        mass: From the distribution, or a part of its batch, and counts to their probabilities, to seven digits.

    Source: Cornish and Fisher, Moments and Cumulants in the Specification of Distributions, 1938.
    """
    if not is_eager(level, d._like()):
        return integer_quantile(d, level)
    shape = torch.broadcast_shapes(level.shape, d.batch_shape)
    with torch.no_grad():
        # ndtri keeps the digits of small levels, and those of 1 - level above one half.
        z = torch.special.ndtri(level.clamp(torch.finfo(level.dtype).tiny, 1)).clamp(max=8.3)
        square = z * z
        bend = skewness * (square - 1) / 6 + excess_kurtosis * z * (square - 3) / 24
        standardised = z + bend - skewness.square() * z * (2 * square - 5) / 36
        guess = (d.mean + d.stddev * standardised - 0.5).ceil()
        lower, upper = (end.expand(shape) for end in support_ends(d))
        guess = torch.where(guess.isfinite(), guess, d.mean.floor()).clamp(lower, upper)
        proper = (level > 0) & (level < 1)
        levels = torch.where(proper, level, 0.5).to(guess.dtype).expand(shape).reshape(-1)
        flat = _flattened(d.expand(shape))
        found = guess.reshape(-1).clone()
        for some in torch.arange(found.numel(), device=found.device).split(_BLOCK):
            low = levels[some] < 0.5
            for index in (some[low], some[~low]):
                if len(index):
                    found[index] = _stepped(_taken(flat, index), levels[index], found[index], mass)
        ends = torch.where(level == 0, lower, torch.where(level == 1, upper, torch.nan))
        return torch.where(proper, found.view(shape), ends)


def _stepped(d: D, level: Tensor, k: Tensor, mass: Callable[[D, Tensor], Tensor]) -> Tensor:
    """The quantiles of levels that lie on one side of one half, each near its guess.

    One tail is computed in full, those beside it by adding or taking away masses; where that leaves doubt, in full too.
    """
    least = support_ends(d)[0].expand(k.shape)
    is_low = bool(level[0] < 0.5)
    # Where the tail stands to this bound, and how it changes with a mass.
    bound, sign = (level, 1) if is_low else (1 - level, -1)
    # A sum and the functions of real arguments differ by as much in float64: a level that is a cdf has its count.
    bound = bound * (1 - sign * 2.0**-42)
    # A move may double the tail's relative error.
    doubt = max(2**_STEPS * torch.finfo(k.dtype).eps, 1e-7)

    def full(index: Tensor, k: Tensor) -> Tensor:
        here = _taken(d, index)
        return here.cdf(k) if is_low else here.survival_function(k)

    def moved(index: Tensor, tail: Tensor, k: Tensor, by: Tensor) -> Tensor:
        tail = tail + by
        change = by.abs()
        near = (tail - bound[index]).abs() <= doubt * (tail + change)
        unsure = near.logical_or_(change > tail).nonzero().squeeze(-1)
        return tail.index_copy(0, unsure, full(index[unsure], k[unsure])) if len(unsure) else tail

    tail = d.cdf(k) if is_low else d.survival_function(k)
    missed = sign * tail < sign * bound
    up, down = missed.nonzero().squeeze(-1), missed.logical_not_().nonzero().squeeze(-1)
    above, below = tail[up], tail[down]
    for _ in range(_STEPS):
        if len(up):
            higher = k[up] + 1
            k[up] = higher
            above = moved(up, above, higher, sign * mass(_taken(d, up), higher))
            still = sign * above < sign * bound[up]
            up, above = up[still], above[still]
        if len(down):
            here = k[down]
            below = moved(down, below, here - 1, -sign * mass(_taken(d, down), here))
            still = (sign * below >= sign * bound[down]) & (here > least[down])
            down, below = down[still], below[still]
            k[down] = here[still] - 1
        if not len(up) and not len(down):
            return k
    far = torch.cat([up, down])
    k[far] = integer_quantile(_taken(d, far), level[far])
    return k


def _flattened(d: D) -> D:
    return _mapped(d, lambda parameter: parameter.reshape(-1))


def _taken(d: D, index: Tensor) -> D:
    return _mapped(d, lambda parameter: parameter.index_select(0, index))


def _mapped(d: D, change: Callable[[Tensor], Tensor]) -> D:
    new = d._bare_copy()
    new._validate_values = False
    for name in d.arg_constraints:
        if name in d.__dict__:
            new.__dict__[name] = change(d.__dict__[name])
            new._batch_shape = new.__dict__[name].shape
    if isinstance(new, BinaryOdds):
        new._param = new.__dict__[new._given]
    return new
