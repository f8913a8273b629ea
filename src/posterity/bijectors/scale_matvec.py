"""Vectors multiplied by a matrix of known structure."""

from typing import Any

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import holds


class ScaleMatvecDiag(Bijector):
    """y = diag(scale_diag) x, for vectors.

    Args:
        scale_diag: `[*batch, n]`, without zeros.

    Raises:
        TypeError: `scale_diag` is not a real floating tensor.
        ValueError: It has no dimension, or a zero.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ScaleMatvecDiag
        >>> ScaleMatvecDiag(torch.tensor([2.0, -1.0]))(torch.tensor([1.0, 1.0]))
        tensor([ 2., -1.])
    """

    domain = codomain = constraints.real_vector

    def __init__(self, scale_diag: Tensor) -> None:
        super().__init__()
        require_floating("ScaleMatvecDiag", "scale_diag", scale_diag)
        if scale_diag.dim() < 1:
            raise ValueError("scale_diag of ScaleMatvecDiag must have the shape [*batch, n], but has no dimension.")
        _require_no_zeros("scale_diag of ScaleMatvecDiag", scale_diag)
        self.scale_diag = scale_diag

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `scale_diag` but for its last dimension."""
        return self.scale_diag.shape[:-1]

    def _forward(self, x: Tensor) -> Tensor:
        return x * self.scale_diag

    def _inverse(self, y: Tensor) -> Tensor:
        return y / self.scale_diag

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self.scale_diag.abs().log().sum(-1) + x.new_zeros(x.shape[:-1])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._forward_log_det(y)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("ScaleMatvecDiag", shape, self.scale_diag.shape[-1])

    _inverse_event_shape = _forward_event_shape


class ScaleMatvecTriL(Bijector):
    """y = L x, for vectors and a lower triangular L.

    Args:
        scale_tril: `[*batch, n, n]`, of which the lower triangle is read; no zeros on its diagonal.

    Raises:
        TypeError: `scale_tril` is not a real floating tensor.
        ValueError: It is not square, or has a zero on its diagonal.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ScaleMatvecTriL
        >>> ScaleMatvecTriL(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))(torch.tensor([1.0, 1.0]))
        tensor([2., 2.])
    """

    domain = codomain = constraints.real_vector

    def __init__(self, scale_tril: Tensor) -> None:
        super().__init__()
        require_square_matrices("ScaleMatvecTriL", "scale_tril", scale_tril)
        _require_no_zeros("diagonal of scale_tril of ScaleMatvecTriL", scale_tril.diagonal(dim1=-2, dim2=-1))
        self.scale_tril = scale_tril

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `scale_tril` but for its last two dimensions."""
        return self.scale_tril.shape[:-2]

    def _forward(self, x: Tensor) -> Tensor:
        return matvec(self.scale_tril.tril(), x)

    def _inverse(self, y: Tensor) -> Tensor:
        return solve_triangular(self.scale_tril, y, upper=False)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return log_abs_diagonal(self.scale_tril) + x.new_zeros(x.shape[:-1])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._forward_log_det(y)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("ScaleMatvecTriL", shape, self.scale_tril.shape[-1])

    _inverse_event_shape = _forward_event_shape


def require_floating(owner: str, name: str, value: Any) -> None:
    """Refuses what is not a real floating tensor.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} of {owner} must be a real floating tensor, not {kind}.")


def require_square_matrices(owner: str, name: str, value: Any) -> None:
    """Refuses what is not a batch of square matrices.

    Raises:
        TypeError: It is not a real floating tensor.
        ValueError: Its last two dimensions are not equal.
    """
    require_floating(owner, name, value)
    if value.dim() < 2 or value.shape[-1] != value.shape[-2]:
        raise ValueError(f"{name} of {owner} must have the shape [*batch, n, n], but has {tuple(value.shape)}.")


def require_length(owner: str, shape: torch.Size, n: int) -> torch.Size:
    """The shape of an event, where it is that of a vector of n entries.

    Raises:
        ValueError: It is not.
    """
    if shape[0] != n:
        raise ValueError(f"{owner} maps vectors of {n} entries, but got events of shape {tuple(shape)}.")
    return shape


def matvec(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix @ x` for the last dimension of `x`; one product of matrices where the matrix has no batch."""
    if matrix.dim() == 2:
        return x @ matrix.mT
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def solve_triangular(matrix: Tensor, y: Tensor, *, upper: bool, unitriangular: bool = False) -> Tensor:
    """The x with `matrix @ x = y`; one solve with many right-hand sides where the matrix has no batch."""
    if matrix.dim() == 2:
        rows = y.reshape(-1, y.shape[-1]).mT
        solved: Tensor = torch.linalg.solve_triangular(matrix, rows, upper=upper, unitriangular=unitriangular)
        return solved.mT.reshape(y.shape)
    column = y.unsqueeze(-1)
    batch = torch.broadcast_shapes(matrix.shape[:-2], column.shape[:-2])
    matrix, column = matrix.expand(*batch, *matrix.shape[-2:]), column.expand(*batch, *column.shape[-2:])
    solved = torch.linalg.solve_triangular(matrix, column, upper=upper, unitriangular=unitriangular)
    return solved.squeeze(-1)


def log_abs_diagonal(matrix: Tensor) -> Tensor:
    """The sum of the logarithms of the diagonal's absolute values."""
    return matrix.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


def _require_no_zeros(what: str, value: Tensor) -> None:
    if not holds(value.abs() > 0):
        raise ValueError(f"{what} must have no zeros and no NaN: the matrix would have no inverse.")
