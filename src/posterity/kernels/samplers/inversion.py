"""Inversion of a discrete law on 0, 1, 2, ... with a small mean, by its tail probabilities."""

from collections.abc import Callable

import torch
from torch import Tensor

from posterity.kernels.samplers.noise import is_eager

# Above it lies less than 1e-16 of a Poisson law with mean 10, and less of a binomial one.
_MOST = 52

# The largest mean for which the bound holds.
SMALL_MEAN = 10.0


def count_by_inversion(level: Tensor, zero: Tensor, ratio: Callable[[Tensor], Tensor]) -> Tensor:
    """The number k with P(X > k) <= level < P(X > k - 1).

    Args:
        level: Uniform on (0, 1), finely resolved near zero, where the large counts lie.
        zero: P(X = 0), of a shape that broadcasts against the level's.
        ratio: k to P(X = k) / P(X = k - 1), for a tensor with one more dimension on the left than `zero` has.

    Returns:
        The counts, of the level's dtype.
    """
    k = torch.arange(1, _MOST + 1, dtype=zero.dtype, device=zero.device).view(-1, *(1,) * zero.dim())
    probability = zero * torch.cumprod(ratio(k), dim=0)
    # Summed from the far end, so that small tails are as accurate as large ones.
    tail = probability.flip(0).cumsum(0).flip(0)
    if is_eager(level):
        count = torch.zeros_like(level)
        for exceeded in tail:
            above = level < exceeded
            if not above.any():
                break
            count += above
        return count
    tail = tail.reshape(_MOST, *(1,) * (level.dim() - zero.dim()), *zero.shape)
    return (level < tail).sum(0).to(level.dtype)
