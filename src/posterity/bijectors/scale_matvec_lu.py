"""Vectors multiplied by a matrix that is given by its LU factors."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import holds
from posterity.bijectors.scale_matvec import (
    log_abs_diagonal,
    matvec,
    require_length,
    require_square_matrices,
    solve_triangular,
)


class ScaleMatvecLU(Bijector):
    """y = (L U x) with its entries permuted, `y[i] = (L U x)[permutation[i]]`: any invertible matrix.

    The product costs n^2 operations, its inverse too, and the log-det n.

    Args:
        lower_upper: `[*batch, n, n]`: U in its upper triangle, L below it (the diagonal of L is 1), as
            `torch.linalg.lu_factor` packs them. No zeros on its diagonal.
        permutation: An order of 0 to n-1, shared by the batch.

    Raises:
        TypeError: `lower_upper` is not a real floating tensor.
        ValueError: It is not square or has a zero on its diagonal, or `permutation` is no such order.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ScaleMatvecLU
        >>> ScaleMatvecLU.from_matrix(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))(torch.tensor([1.0, 3.0]))
        tensor([6., 1.])
    """

    domain = codomain = constraints.real_vector

    def __init__(self, lower_upper: Tensor, permutation: Sequence[int]) -> None:
        super().__init__()
        require_square_matrices("ScaleMatvecLU", "lower_upper", lower_upper)
        n = lower_upper.shape[-1]
        permutation = tuple(int(i) for i in permutation)
        if sorted(permutation) != list(range(n)):
            raise ValueError(
                f"permutation of ScaleMatvecLU must hold each of 0 to n-1 once, for n = {n} as in lower_upper, but is "
                f"{permutation}."
            )
        if not holds(lower_upper.diagonal(dim1=-2, dim2=-1).abs() > 0):
            raise ValueError(
                "diagonal of lower_upper of ScaleMatvecLU must have no zeros and no NaN: the matrix would have no "
                "inverse."
            )
        self.lower_upper = lower_upper
        self.permutation = permutation

    @classmethod
    def from_matrix(cls, matrix: Tensor) -> Self:
        """The bijector y = matrix x, by LU factorisation with partial pivoting.

        Args:
            matrix: `[n, n]`, invertible. Gradients flow back into it.

        Raises:
            TypeError: `matrix` is not a real floating tensor.
            ValueError: It is not one square matrix, or singular.
        """
        require_square_matrices(cls.__name__, "matrix", matrix)
        if matrix.dim() != 2:
            raise ValueError(
                f"matrix of {cls.__name__}.from_matrix must be one matrix, of shape [n, n], but has the shape "
                f"{tuple(matrix.shape)}: the matrices of a batch have no permutation in common."
            )
        lower_upper, pivots = torch.linalg.lu_factor(matrix)
        permuting = torch.lu_unpack(lower_upper.detach(), pivots, unpack_data=False)[0]
        return cls(lower_upper, permuting.argmax(-1).tolist())

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `lower_upper` but for its last two dimensions."""
        return self.lower_upper.shape[:-2]

    def _forward(self, x: Tensor) -> Tensor:
        return lu_matvec(self.lower_upper, _indices(self.permutation, x), x)

    def _inverse(self, y: Tensor) -> Tensor:
        return lu_solve(self.lower_upper, _indices(self.permutation, y).argsort(), y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return log_abs_diagonal(self.lower_upper) + x.new_zeros(x.shape[:-1])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._forward_log_det(y)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("ScaleMatvecLU", shape, self.lower_upper.shape[-1])

    _inverse_event_shape = _forward_event_shape


def lu_matvec(lower_upper: Tensor, permutation: Tensor, x: Tensor) -> Tensor:
    """`(L U x)[permutation]` along the last dimension of `x`."""
    between = matvec(lower_upper.triu(), x)
    product = between + matvec(lower_upper.tril(-1), between)
    return product.index_select(-1, permutation)


def lu_solve(lower_upper: Tensor, inverse_permutation: Tensor, y: Tensor) -> Tensor:
    """The x with `(L U x)[permutation] = y`."""
    between = solve_triangular(lower_upper, y.index_select(-1, inverse_permutation), upper=False, unitriangular=True)
    return solve_triangular(lower_upper, between, upper=True)


def _indices(order: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(order, dtype=torch.int64, device=like.device)
