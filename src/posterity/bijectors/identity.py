"""The map that changes nothing."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class Identity(Bijector):
    """y = x.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Identity
        >>> Identity().forward_log_det_jacobian(torch.tensor([1.0, 2.0]))
        tensor([0., 0.])
    """

    domain = codomain = constraints.real
    _increasing = 1

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        return y

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)
