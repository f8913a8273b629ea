"""A curve onto (-1, 1) with heavy tails."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.tanh import inside_unit


class Softsign(Bijector):
    """y = x / (1 + |x|), from the line onto (-1, 1).

    Images that round to an end are the nearest number within, and the inverse takes an end for that number.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Softsign
        >>> Softsign()(torch.tensor([-1.0, 3.0]))
        tensor([-0.5000,  0.7500])
    """

    domain = constraints.real
    codomain = constraints.interval(-1.0, 1.0)
    _increasing = 1

    def _forward(self, x: Tensor) -> Tensor:
        return inside_unit(x / (1 + x.abs()))

    def _inverse(self, y: Tensor) -> Tensor:
        y = inside_unit(y)
        return y / (1 - y.abs())

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return -2 * torch.log1p(x.abs())

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -2 * torch.log1p(-inside_unit(y).abs())
