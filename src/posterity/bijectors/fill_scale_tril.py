"""Vectors as lower triangular matrices with a positive diagonal."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.fill_triangular import fill_lower, read_lower, require_square, triangle_size
from posterity.bijectors.independent import require_bijectors
from posterity.bijectors.softplus import Softplus


class FillScaleTriL(Bijector):
    """A vector as a lower triangular matrix (as `FillTriangular` lays it out) whose diagonal is made positive.

    L_ij = x_ij below the diagonal and L_ii = diagonal(x_ii) + diagonal_shift on it. The defaults are TFP's, softplus
    and 1e-5: they keep a scale that is being fitted from becoming singular. Every Cholesky factor can be reached with
    `diagonal_shift=0`.

    Args:
        diagonal: A bijector of the line onto the positive half line, for the diagonal; softplus by default.
        diagonal_shift: What is added to it; not negative.

    Raises:
        TypeError: `diagonal` is not a Bijector.
        ValueError: `diagonal` is not a map of single numbers, `diagonal_shift` is negative; (on use) no triangle has
            as many entries as the vector.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Exp, FillScaleTriL
        >>> FillScaleTriL(Exp(), diagonal_shift=0.0)(torch.tensor([0.0, 2.0, 0.0]))
        tensor([[1., 0.],
                [2., 1.]])
    """

    domain = constraints.real_vector
    codomain = constraints.lower_cholesky

    def __init__(self, diagonal: Bijector | None = None, diagonal_shift: float = 1e-5) -> None:
        diagonal = Softplus() if diagonal is None else diagonal
        require_bijectors("FillScaleTriL", [diagonal])
        if diagonal.domain.event_dim or diagonal.codomain.event_dim:
            raise ValueError(f"diagonal of FillScaleTriL must map single numbers, but is {diagonal!r}.")
        if not diagonal_shift >= 0:
            raise ValueError(f"diagonal_shift of FillScaleTriL must not be negative, but is {diagonal_shift}.")
        super().__init__()
        self.diagonal = diagonal
        self.diagonal_shift = diagonal_shift

    def _forward(self, x: Tensor) -> Tensor:
        raw = fill_lower(x, triangle_size("FillScaleTriL", x.shape[-1]))
        diagonal = self.diagonal._forward(raw.diagonal(dim1=-2, dim2=-1)) + self.diagonal_shift
        return raw.tril(-1) + diagonal.diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return read_lower(y.tril(-1) + self.diagonal._inverse(self._unshifted(y)).diag_embed())

    def _forward_log_det(self, x: Tensor) -> Tensor:
        raw = fill_lower(x, triangle_size("FillScaleTriL", x.shape[-1]))
        return self.diagonal._forward_log_det(raw.diagonal(dim1=-2, dim2=-1)).sum(-1)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self.diagonal._inverse_log_det(self._unshifted(y)).sum(-1)

    def _unshifted(self, y: Tensor) -> Tensor:
        """The diagonal less the shift; positive where it has rounded to the shift too."""
        diagonal = y.diagonal(dim1=-2, dim2=-1)
        return (diagonal - self.diagonal_shift).clamp(min=torch.finfo(y.dtype).tiny)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        n = triangle_size("FillScaleTriL", shape[0])
        return torch.Size([n, n])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        n = require_square("output of FillScaleTriL", shape)
        return torch.Size([n * (n + 1) // 2])
