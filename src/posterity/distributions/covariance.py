"""Covariances given as themselves, by their inverse or by their Cholesky factor; and vectors under a factor.

Everything is computed from the lower triangular factor: log-determinants from its diagonal, distances by substitution.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property

from posterity.bijectors.registry import register_with_torch
from posterity.runtime import validation_enabled


class Covariance:
    """The properties `scale_tril`, `covariance_matrix` and `precision_matrix`; list this class before torch's own.

    The ones that were not given are computed from `_unbroadcasted_scale_tril` at their first use.
    """

    _unbroadcasted_scale_tril: Tensor
    _batch_shape: torch.Size

    @lazy_property
    def scale_tril(self) -> Tensor:
        """Lower triangular Cholesky factor of `covariance_matrix`, `[*batch_shape, n, n]`."""
        return self._whole(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """`scale_tril @ scale_tril.mT`, `[*batch_shape, n, n]`."""
        return self._whole(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """Inverse of `covariance_matrix`, `[*batch_shape, n, n]`."""
        inverse = inverse_factor(self._unbroadcasted_scale_tril)
        return self._whole(inverse.mT @ inverse)

    def _whole(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + matrix.shape[-2:])


def factor_of(name: str, matrix: Tensor) -> Tensor:
    """The Cholesky factor of the covariance that `matrix` stands for, by the name of the parameter.

    Example:
        >>> factor_of("precision_matrix", 4 * torch.eye(1))
        tensor([[0.5000]])
    """
    if name == "scale_tril":
        # The upper half is zero; without it, it gets no gradient either.
        return matrix.tril()
    if name == "precision_matrix":
        # With the rows and columns reversed, the lower factor of P becomes an upper one, U; (U U^T)^-1 = U^-T U^-1.
        upper = checked_cholesky(matrix.flip((-2, -1))).flip((-2, -1))
        return inverse_factor(upper.mT)
    return checked_cholesky(matrix)


def checked_cholesky(matrix: Tensor) -> Tensor:
    """The factor; of a matrix that has none NaN where nothing is checked, so that a sampler can turn it down."""
    factor: Tensor
    if validation_enabled():
        factor = torch.linalg.cholesky(matrix)
    else:
        factor, info = torch.linalg.cholesky_ex(matrix)
        factor = torch.where((info == 0)[..., None, None], factor, torch.nan)
    return factor


def inverse_factor(tril: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix, by substitution."""
    identity = torch.eye(tril.shape[-1], dtype=tril.dtype, device=tril.device)
    return substituted(tril, identity)


def substituted(tril: Tensor, columns: Tensor) -> Tensor:
    """`tril^-1 @ columns` for a lower triangular matrix, by forward substitution; batches broadcast."""
    solution: Tensor = torch.linalg.solve_triangular(tril, columns, upper=False)
    return solution


def log_diagonal(tril: Tensor) -> Tensor:
    """Log-determinant of a triangular matrix with a positive diagonal, `[*batch]`."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def whitened(tril: Tensor, vectors: Tensor) -> Tensor:
    """`tril^-1 x` for each of `vectors`.

    Args:
        tril: Lower triangular, `[*batch, n, n]`.
        vectors: `[..., n]`, broadcast against the batch.

    Example:
        >>> whitened(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([2.0, 3.0]))
        tensor([1., 2.])
    """
    return on_columns(lambda columns: substituted(tril, columns), tril, vectors)


def multiplied(matrix: Tensor, vectors: Tensor) -> Tensor:
    """`matrix @ x` for each of `vectors`, shaped as in `whitened`."""
    return on_columns(lambda columns: matrix @ columns, matrix, vectors)


def on_columns(operation: Callable[[Tensor], Tensor], matrix: Tensor, vectors: Tensor) -> Tensor:
    """A linear operation on columns, done to vectors: what lies before the batch of `matrix` becomes columns of one."""
    shape = torch.broadcast_shapes(vectors.shape[:-1], matrix.shape[:-2])
    lead = len(shape) - (matrix.dim() - 2)
    vectors = vectors.expand(shape + vectors.shape[-1:])
    columns = vectors.reshape(shape[:lead].numel(), *shape[lead:], vectors.shape[-1]).movedim(0, -1)
    result = operation(columns).movedim(-1, 0)
    return result.reshape(shape + result.shape[-1:])


def require_event_shape(owner: str, name: str, parameter: object, shape: torch.Size | tuple[int, ...]) -> None:
    """Refuses a tensor whose last dimensions are not `shape`; numbers and tensors of too few are left to others.

    Raises:
        ValueError: They are not.
    """
    rank = len(shape)
    if not rank or not isinstance(parameter, Tensor) or parameter.dim() < rank:
        return
    if parameter.shape[-rank:] != torch.Size(shape):
        raise ValueError(
            f"{name} of {owner} must have the shape [*batch, {', '.join(map(str, shape))}], to fit the parameters "
            f"beside it, but its shape is {tuple(parameter.shape)}."
        )


def require_square(owner: str, name: str, matrix: object) -> None:
    """Refuses a tensor whose last two dimensions differ.

    Raises:
        ValueError: They do.
    """
    if isinstance(matrix, Tensor) and matrix.dim() >= 2 and matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"{name} of {owner} must be square in its last two dimensions, but its shape is {tuple(matrix.shape)}."
        )


def last_sizes(parameter: object, rank: int) -> torch.Size:
    """The last `rank` sizes of a tensor; of anything else, none."""
    return parameter.shape[-rank:] if isinstance(parameter, Tensor) else torch.Size()


class _PositiveDefinite(type(constraints.positive_definite)):  # type: ignore[misc]  # torch names no class
    """Symmetric matrices with a Cholesky factor. torch's own check branches on values, which `torch.vmap` refuses."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        diagonal = value.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
        scale = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        symmetric: Tensor = ((value - value.mT).abs() <= 1e-5 * scale).all(-1).all(-1)
        factored: Tensor = torch.linalg.cholesky_ex(value).info.eq(0)
        return symmetric & factored

    def __repr__(self) -> str:
        return "PositiveDefinite()"


positive_definite = _PositiveDefinite()
register_with_torch(_PositiveDefinite)
