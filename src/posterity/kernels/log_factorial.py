"""Logarithms of factorials of whole numbers, from a table and Stirling's series: a few times faster than lgamma."""

import math
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

_LAST = 1023
# Made of Python's whole numbers, whatever the default device and the mode of the first use are.
_TABLE = torch.tensor(
    [math.log(factorial) for factorial in accumulate(range(1, _LAST + 1), mul, initial=1)],
    dtype=torch.float64,
    device="cpu",
)
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def log_factorial(k: Tensor, most: float) -> Tensor:
    """Log k! in float64, to its rounding.

    Args:
        k: Whole numbers of at least 0, on the CPU.
        most: The greatest of them, which the caller has read.

    Source: DLMF 5.11.1.

    Example:
        >>> log_factorial(torch.tensor([0.0, 3.0]), 3.0)
        tensor([0.0000, 1.7918], dtype=torch.float64)
    """
    few = (k if most <= _LAST else k.clamp(max=_LAST)).int()
    listed = _TABLE.index_select(0, few) if k.dim() == 1 else _TABLE.index_select(0, few.reshape(-1)).view(k.shape)
    if most <= _LAST:
        return listed
    # The next term of the series is below 1e-18.
    many = k.double().clamp(min=_LAST)
    series = (many + 0.5) * many.log() - many + _HALF_LOG_TAU + (1 / 12 - 1 / 360 / (many * many)) / many
    return torch.where(k > _LAST, series, listed)
