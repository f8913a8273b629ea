"""From Cholesky factors onto positive definite matrices."""

import math

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.fill_triangular import require_square


class _PositiveDefinite(type(constraints.positive_definite)):  # type: ignore[misc]
    """torch's constraint with a check that has no control flow, which `vmap` cannot take."""

    def check(self, value: Tensor) -> Tensor:
        symmetric = ((value - value.mT).abs() <= 1e-6 + 1e-5 * value.mT.abs()).all(-2).all(-1)
        valid: Tensor = symmetric & (torch.linalg.cholesky_ex(value).info == 0)
        return valid


class CholeskyOuterProduct(Bijector):
    r"""Y = L L^T, from lower triangular L with a positive diagonal onto positive definite matrices.

    The log-det, between the lower triangles of both, is
    $n \log 2 + \sum_{i=1}^n (n - i + 1) \log L_{ii}$ (Muirhead 1982, Theorem 2.1.9).

    Raises:
        ValueError: (on use) the matrix is not square, or not positive definite.

    Example:
        >>> import torch
        >>> from posterity.bijectors import CholeskyOuterProduct
        >>> CholeskyOuterProduct()(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
        tensor([[4., 2.],
                [2., 2.]])
    """

    domain = constraints.lower_cholesky
    codomain = _PositiveDefinite()

    def _forward(self, x: Tensor) -> Tensor:
        return x @ x.mT

    def _inverse(self, y: Tensor) -> Tensor:
        factor: Tensor = torch.linalg.cholesky(y)
        return factor

    def _forward_log_det(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        weights = torch.arange(n, 0, -1, dtype=x.dtype, device=x.device)
        return (weights * x.diagonal(dim1=-2, dim2=-1).log()).sum(-1) + n * math.log(2)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self._inverse(y)
        return x, -self._forward_log_det(x)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        require_square("input of CholeskyOuterProduct", shape)
        return shape

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        require_square("output of CholeskyOuterProduct", shape)
        return shape
