"""Vectors laid out as lower triangular matrices."""

import math

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class FillTriangular(Bijector):
    """A vector of n (n + 1) / 2 entries as a lower triangular n x n matrix, filled row by row.

    The order is that of `torch.tril_indices`. Log-dets are 0, under the Lebesgue measure of the lower triangle.

    Raises:
        ValueError: (on use) no triangle has as many entries as the vector, or the matrix is not square.

    Example:
        >>> import torch
        >>> from posterity.bijectors import FillTriangular
        >>> FillTriangular()(torch.tensor([1.0, 2.0, 3.0]))
        tensor([[1., 0.],
                [2., 3.]])
    """

    domain = constraints.real_vector
    codomain = constraints.lower_triangular

    def _forward(self, x: Tensor) -> Tensor:
        return fill_lower(x, triangle_size("FillTriangular", x.shape[-1]))

    def _inverse(self, y: Tensor) -> Tensor:
        return read_lower(y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return y.new_zeros(y.shape[:-2])

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        n = triangle_size("FillTriangular", shape[0])
        return torch.Size([n, n])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        n = require_square("output of FillTriangular", shape)
        return torch.Size([n * (n + 1) // 2])


def triangle_size(owner: str, length: int) -> int:
    """The n for which a triangle with its diagonal has `length` entries.

    Raises:
        ValueError: There is none.
    """
    n = (math.isqrt(8 * length + 1) - 1) // 2
    if n * (n + 1) // 2 != length:
        raise ValueError(
            f"input of {owner} has {length} entries, but a lower triangle of n rows has n (n + 1) / 2: "
            f"{n * (n + 1) // 2} or {(n + 1) * (n + 2) // 2}."
        )
    return n


def require_square(what: str, shape: torch.Size) -> int:
    """The size of a square matrix.

    Raises:
        ValueError: The shape is not square.
    """
    if shape[0] != shape[1]:
        raise ValueError(f"{what} must be square matrices, but has events of shape {tuple(shape)}.")
    return shape[0]


def fill_lower(x: Tensor, n: int) -> Tensor:
    """`[..., n (n + 1) / 2]` as `[..., n, n]`, row by row, with zeros above the diagonal."""
    row = torch.arange(n, device=x.device)[:, None]
    column = torch.arange(n, device=x.device)
    at = row * (row + 1) // 2 + torch.minimum(row, column)
    square: Tensor = x.index_select(-1, at.flatten()).unflatten(-1, (n, n))
    return square.tril()


def read_lower(y: Tensor) -> Tensor:
    """The lower triangle of `[..., n, n]` row by row, `[..., n (n + 1) / 2]`."""
    n = y.shape[-1]
    row, column = torch.tril_indices(n, n, device=y.device)
    return y.flatten(-2).index_select(-1, row * n + column)
