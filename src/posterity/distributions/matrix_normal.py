"""The normal distribution over matrices whose rows and columns are each correlated."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.covariance import last_sizes, log_diagonal, require_event_shape, substituted
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import Source, normal

_MAX_ROUNDS, _CONVERGED = 500, 1e-12


class MatrixNormal(Distribution):
    r"""The law of $loc + A Z B^T$, with Z a matrix of independent standard normal numbers.

    Entries (i, j) and (k, l) have the covariance $(A A^T)_{ik} (B B^T)_{jl}$. Only the product of the two is
    identified: A may grow as B shrinks.

    Args:
        loc: Mean, `[*batch_shape, n, p]`.
        scale_tril_row: Lower triangular A with a positive diagonal, `[*batch_shape, n, n]`.
        scale_tril_column: Lower triangular B with a positive diagonal, `[*batch_shape, p, p]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is no real tensor.
        ValueError: Shapes do not fit, or a value violates its constraint.

    Source: Gupta and Nagar, Matrix Variate Distributions, 2000, chapter 2.

    Example:
        >>> d = MatrixNormal(torch.zeros(2, 1), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 2 * torch.eye(1))
        >>> d.variance
        tensor([[4.],
                [8.]])
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.independent(constraints.real, 2),
        "scale_tril_row": constraints.lower_cholesky,
        "scale_tril_column": constraints.lower_cholesky,
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    loc: Tensor
    scale_tril_row: Tensor
    scale_tril_column: Tensor

    def __init__(
        self, loc: Tensor, scale_tril_row: Tensor, scale_tril_column: Tensor, validate_args: bool | None = None
    ) -> None:
        shape = last_sizes(loc, 2)
        require_event_shape("MatrixNormal", "scale_tril_row", scale_tril_row, 2 * shape[:1])
        require_event_shape("MatrixNormal", "scale_tril_column", scale_tril_column, 2 * shape[1:])
        parameters: dict[str, Tensor | float] = {
            "loc": loc,
            "scale_tril_row": scale_tril_row,
            "scale_tril_column": scale_tril_column,
        }
        self._initialise(parameters, event_shape=shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        white = _whitened(self, self._checked_value(value, support=True) - self.loc)
        constant = 0.5 * self.event_shape.numel() * math.log(2 * math.pi)
        return -0.5 * white.square().sum((-2, -1)) - self._half_log_det() - constant

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [n, p]`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        # The upper halves are zero; without them, they get no gradient either.
        return self.loc + self.scale_tril_row.tril() @ noise @ self.scale_tril_column.tril().mT

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry, of shape `batch_shape + [n, p]`."""
        rows, columns = (f.square().sum(-1) for f in (self.scale_tril_row, self.scale_tril_column))
        return rows.unsqueeze(-1) * columns.unsqueeze(-2)

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self._half_log_det() + 0.5 * self.event_shape.numel() * math.log(2 * math.pi * math.e)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: covariances of rows and columns in turn, each given the other, until they stand still.

        The mean variance of the rows is made 1, since only the product of the two is identified.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, n, p]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: There are too few draws for a covariance of full rank: the likelihood then has no maximum.

        Source: Dutilleul, The MLE Algorithm for the Matrix Normal Distribution, 1999, equations 4 and 5.

        Example:
            >>> draws = MatrixNormal(torch.zeros(2, 3), torch.eye(2), torch.eye(3)).sample((50,))
            >>> MatrixNormal.fit(draws).scale_tril_column.shape
            torch.Size([3, 3])
        """
        data, weights = fit_data("MatrixNormal", data, weights, event_rank=2)
        w = weights.double()[..., None, None]
        loc = (w * data.double()).sum(0)
        centred = w.sqrt() * (data.double() - loc)
        num_rows, num_columns = centred.shape[-2:]
        row = torch.eye(num_rows, dtype=centred.dtype, device=centred.device).expand(*loc.shape[:-2], -1, -1)
        column = torch.eye(num_columns, dtype=centred.dtype, device=centred.device).expand(*loc.shape[:-2], -1, -1)
        for _ in range(_MAX_ROUNDS):
            before = row
            white = substituted(row, centred)
            column = _factor(torch.einsum("s...ij,s...ik->...jk", white, white) / num_rows)
            white = substituted(column, centred.mT)
            covariance = torch.einsum("s...ji,s...jk->...ik", white, white)
            size = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
            row, column = _factor(covariance / size), column * (size / num_columns).sqrt()
            if bool(((row - before).abs().amax((-2, -1)) <= _CONVERGED).all()):
                break
        return cls(loc.to(data.dtype), row.to(data.dtype), column.to(data.dtype))

    def _half_log_det(self) -> Tensor:
        num_rows, num_columns = self.event_shape
        return num_columns * log_diagonal(self.scale_tril_row) + num_rows * log_diagonal(self.scale_tril_column)


def _whitened(d: MatrixNormal, matrix: Tensor) -> Tensor:
    left = substituted(d.scale_tril_row, matrix)
    return substituted(d.scale_tril_column, left.mT)


def _factor(covariance: Tensor) -> Tensor:
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(covariance)
    if bool(info.any()):
        raise ValueError(
            "data of MatrixNormal.fit do not determine the covariances of rows and columns: the likelihood has no "
            "maximum. Give more draws."
        )
    return factor


@register_kl(MatrixNormal, MatrixNormal)
def _kl_matrix_normal(p: MatrixNormal, q: MatrixNormal) -> Tensor:
    traces = torch.ones_like(p.loc[..., 0, 0])
    for name in ("scale_tril_row", "scale_tril_column"):
        relative = substituted(getattr(q, name), getattr(p, name))
        traces = traces * relative.square().sum((-2, -1))
    distance = _whitened(q, q.loc - p.loc).square().sum((-2, -1))
    return q._half_log_det() - p._half_log_det() + 0.5 * (traces + distance - p.event_shape.numel())
