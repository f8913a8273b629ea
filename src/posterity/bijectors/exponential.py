"""Exp and its inverse, Log."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class Exp(Bijector):
    """y = exp(x), from the line onto the positive half line.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Exp
        >>> Exp().inverse_log_det_jacobian(torch.tensor(1.0))
        tensor(-0.)
    """

    domain = constraints.real
    codomain = constraints.positive
    _increasing = 1

    def _forward(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -y.log()


class Log(Bijector):
    """y = log(x), from the positive half line onto the line.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Log
        >>> Log()(torch.tensor(1.0))
        tensor(0.)
    """

    domain = constraints.positive
    codomain = constraints.real
    _increasing = 1

    def _forward(self, x: Tensor) -> Tensor:
        return torch.log(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.exp(y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return -torch.log(x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return y
