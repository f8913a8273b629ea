"""Vectors as Cholesky factors of correlation matrices."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.fill_triangular import fill_lower, read_lower, require_square
from posterity.bijectors.softplus import log_cosh


class CorrCholesky(Bijector):
    r"""A vector of K (K - 1) / 2 entries as the Cholesky factor of a K x K correlation matrix.

    The entries, laid row by row below the diagonal, are the atanh of canonical partial correlations:
    $L_{ij} = \tanh(x_{ij}) \prod_{k<j} 1/\cosh(x_{ik})$ and $L_{ii} = \prod_{k<i} 1/\cosh(x_{ik})$. They are computed
    through log cosh, and the way back is $x_{ij} = \mathrm{asinh}(L_{ij} / \|L_{i,j+1:i}\|)$, so that neither
    subtracts from 1: correlations that round to 1 in float32 still have finite preimages. Log-dets are those of the
    entries below the diagonal. (Lewandowski, Kurowicka and Joe 2009; Stan Reference Manual, "Cholesky factors of
    correlation matrices".)

    Raises:
        ValueError: (on use) no K fits the vector, or the matrix is not square.

    Example:
        >>> import torch
        >>> from posterity.bijectors import CorrCholesky
        >>> CorrCholesky()(torch.tensor([0.0]))
        tensor([[1., 0.],
                [0., 1.]])
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky

    def _forward(self, x: Tensor) -> Tensor:
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        size = y.shape[-1]
        row = torch.arange(size, device=y.device)
        columns = []
        # The norm of what is right of each entry in its row, up to the diagonal: hypot does not underflow.
        right = torch.ones_like(y[..., 0])
        for j in reversed(range(1, size)):
            right = torch.where(row == j, y[..., j], torch.where(row > j, torch.hypot(y[..., j], right), right))
            columns.append((y[..., j - 1] / right).asinh())
        if not columns:
            return y.new_zeros((*y.shape[:-2], 0))
        return read_lower(torch.stack(columns[::-1], -1)[..., 1:, :])

    def _forward_log_det(self, x: Tensor) -> Tensor:
        size = _size(x.shape[-1])
        logs = F.pad(fill_lower(log_cosh(x), size - 1), (0, 1, 1, 0))
        place = torch.arange(size, dtype=x.dtype, device=x.device)
        # d L_ij / d x_ij has log cosh(x_ij) twice, and every entry right of it in the row has it once.
        weights = 1 + place[:, None] - place
        return -(weights * logs).sum((-2, -1))

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = _size(x.shape[-1])
        logs = fill_lower(log_cosh(x), size - 1)
        left = F.pad(F.pad(logs.cumsum(-1), (1, 0)), (0, 0, 1, 0))
        tangents = F.pad(fill_lower(x.tanh(), size - 1), (0, 1, 1, 0))
        ones = torch.eye(size, dtype=x.dtype, device=x.device)
        y = (tangents + ones) * (-left).clamp(min=math.log(torch.finfo(x.dtype).tiny)).exp()
        return y, self._forward_log_det(x)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        size = _size(shape[0])
        return torch.Size([size, size])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        size = require_square("output of CorrCholesky", shape)
        return torch.Size([size * (size - 1) // 2])


def _size(length: int) -> int:
    size = (math.isqrt(8 * length + 1) + 1) // 2
    if size * (size - 1) // 2 != length:
        raise ValueError(
            f"input of CorrCholesky has {length} entries, but K variables have K (K - 1) / 2 correlations: "
            f"{size * (size - 1) // 2} or {size * (size + 1) // 2}."
        )
    return size
