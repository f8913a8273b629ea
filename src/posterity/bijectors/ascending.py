"""Vectors whose entries increase."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class Ascending(Bijector):
    """y_1 = x_1, y_i = y_{i-1} + exp(x_i): from vectors onto those whose entries increase.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Ascending
        >>> Ascending()(torch.zeros(3)), Ascending().inverse(torch.tensor([-1.0, 0.0, 1.0]))
        (tensor([0., 1., 2.]), tensor([-1.,  0.,  0.]))
    """

    domain = constraints.real_vector
    codomain = constraints.ordered

    def _forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., :1], x[..., 1:].exp()], -1).cumsum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.cat([y[..., :1], y.diff(dim=-1).log()], -1)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x[..., 1:].sum(-1)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -y.diff(dim=-1).log().sum(-1)
