"""The hyperbolic tangent onto (-1, 1)."""

import math

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.softplus import softplus


class Tanh(Bijector):
    """y = tanh(x), from the line onto (-1, 1).

    Images that round to an end are the nearest number within, and the inverse takes an end for that number, so that
    everything is finite; in float32 an |x| beyond 8.7 is recovered by `with_cache()` only.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Tanh
        >>> Tanh().forward_log_det_jacobian(torch.tensor(0.0))
        tensor(0.)
    """

    domain = constraints.real
    codomain = constraints.interval(-1.0, 1.0)
    _increasing = 1

    def _forward(self, x: Tensor) -> Tensor:
        return inside_unit(torch.tanh(x))

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.atanh(inside_unit(y))

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return 2 * (math.log(2) - x - softplus(-2 * x))

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        y = inside_unit(y)
        return -torch.log1p(y) - torch.log1p(-y)


def inside_unit(y: Tensor) -> Tensor:
    """`y` within the numbers strictly between -1 and 1."""
    end = 1 - torch.finfo(y.dtype).eps / 2
    return y.clamp(-end, end)
