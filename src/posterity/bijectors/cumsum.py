"""Running sums."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class CumSum(Bijector):
    """y_i = x_1 + ... + x_i along one dimension.

    Args:
        dim: The dimension, counted from the right; it and those right of it are the event.

    Raises:
        ValueError: `dim` is not negative.

    Example:
        >>> import torch
        >>> from posterity.bijectors import CumSum
        >>> CumSum()(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 3., 6.])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        if dim >= 0:
            raise ValueError(f"dim of CumSum must be negative, counted from the right, but is {dim}.")
        self.dim = dim
        self.domain = self.codomain = constraints.independent(constraints.real, -dim)

    def _forward(self, x: Tensor) -> Tensor:
        return x.cumsum(self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        length = y.shape[self.dim]
        first = y.narrow(self.dim, 0, min(1, length))
        return torch.cat([first, y.diff(dim=self.dim)], self.dim)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: self.dim])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._forward_log_det(y)
