"""The multivariate normal whose covariance is a diagonal plus a matrix of low rank, at a cost linear in its size."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import varies
from posterity.distributions.covariance import (
    checked_cholesky,
    last_sizes,
    log_diagonal,
    multiplied,
    on_columns,
    require_event_shape,
    substituted,
)
from posterity.distributions.fitting import fit_data, maximum_likelihood
from posterity.distributions.kl import register_kl
from posterity.distributions.multivariate_normal import MultivariateNormal, kl_of_normals, weighted_moments
from posterity.kernels import Source, normal


class LowRankMultivariateNormal(Distribution, torch.distributions.LowRankMultivariateNormal):
    r"""The normal distribution over vectors with covariance $W W^T + D$, D diagonal: factor analysis.

    Densities and draws cost O(n r^2); no n x n matrix is made.

    Args:
        loc: Mean, `[*batch_shape, n]`.
        cov_factor: W, `[*batch_shape, n, r]`.
        cov_diag: The diagonal of D, positive, `[*batch_shape, n]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is no real tensor.
        ValueError: Shapes do not fit, or a value violates its constraint.

    Source: Woodbury's identity, in the form of a least squares problem whose value is a sum of squares: Golub and
    Van Loan, Matrix Computations, 2013, section 2.1.4.

    Example:
        >>> d = LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
        >>> d.covariance_matrix
        tensor([[2., 1.],
                [1., 2.]])
    """

    loc: Tensor
    cov_factor: Tensor
    cov_diag: Tensor

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        size = last_sizes(loc, 1)
        require_event_shape("LowRankMultivariateNormal", "cov_factor", cov_factor, size + last_sizes(cov_factor, 1))
        require_event_shape("LowRankMultivariateNormal", "cov_diag", cov_diag, size)
        parameters: dict[str, Tensor | float] = {"loc": loc, "cov_factor": cov_factor, "cov_diag": cov_diag}
        self._initialise(parameters, event_shape=size, validate_args=validate_args)
        # torch's formulas look for these names; before broadcasting, one factorisation serves a whole batch of means.
        dtype = self.loc.dtype
        self._unbroadcasted_cov_factor = cov_factor.to(dtype)
        self._unbroadcasted_cov_diag = cov_diag.to(dtype)
        scaled = self._scaled_factor()
        rank = torch.eye(scaled.shape[-1], dtype=dtype, device=scaled.device)
        self._capacitance_tril = checked_cholesky(rank + scaled.mT @ scaled)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        difference = self._checked_value(value, support=True) - self.loc
        constant = difference.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (self._squared_distance(difference) + self._log_det() + constant)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `loc + cov_factor @ noise1 + sqrt(cov_diag) * noise2`, of shape `sample_shape + batch_shape + [n]`."""
        size, rank = self.cov_factor.shape[-2:]
        shape = (*self._extended_shape(sample_shape)[:-1], size + rank)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        shared = multiplied(self._unbroadcasted_cov_factor, noise[..., size:])
        return self.loc + shared + self._unbroadcasted_cov_diag.sqrt() * noise[..., :size]

    # torch caches these, and a cached one would keep its shape in `expand`.

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, of shape `batch_shape + [n]`."""
        return self.cov_factor.square().sum(-1) + self.cov_diag

    @property
    def covariance_matrix(self) -> Tensor:
        """`cov_factor @ cov_factor.mT` and the diagonal, `[*batch_shape, n, n]`."""
        return self.cov_factor @ self.cov_factor.mT + self.cov_diag.diag_embed()

    @property
    def scale_tril(self) -> Tensor:
        """Cholesky factor of the covariance, `[*batch_shape, n, n]`."""
        spread = self.cov_diag.sqrt().unsqueeze(-1)
        scaled = self.cov_factor / spread
        identity = torch.eye(scaled.shape[-2], dtype=scaled.dtype, device=scaled.device)
        factor: Tensor = spread * torch.linalg.cholesky(identity + scaled @ scaled.mT)
        return factor

    @property
    def precision_matrix(self) -> Tensor:
        """Inverse of the covariance, `[*batch_shape, n, n]`."""
        spread = self._unbroadcasted_cov_diag.sqrt()
        solved = substituted(self._capacitance_tril, (self._scaled_factor() / spread.unsqueeze(-1)).mT)
        matrix = self._unbroadcasted_cov_diag.reciprocal().diag_embed() - solved.mT @ solved
        return matrix.expand(self.batch_shape + matrix.shape[-2:])

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None, rank: int = 1) -> Self:
        """Maximum likelihood: factor analysis, searched for from probabilistic principal components.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, n]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
            rank: Columns of `cov_factor`, from 1 to n - 1.

        Raises:
            ValueError: `rank` is not in that range, or an entry of the data is constant.
            ArithmeticError: The search did not converge, as where an entry is best explained without noise of its own.

        Source: Tipping and Bishop, Probabilistic Principal Component Analysis, 1999, equation 7, for the start.

        Example:
            >>> draws = LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3)).sample((50,))
            >>> LowRankMultivariateNormal.fit(draws).cov_factor.shape
            torch.Size([3, 1])
        """
        data, weights = fit_data(cls.__name__, data, weights, event_rank=1)
        size = data.shape[-1]
        if not 1 <= rank < size:
            raise ValueError(f"rank of {cls.__name__}.fit must lie between 1 and {size - 1}, but is {rank}.")
        loc, covariance = weighted_moments(data.double(), weights.double())
        values, vectors = torch.linalg.eigh(covariance)
        rest = values[..., : size - rank].mean(-1, keepdim=True)
        factor = vectors[..., size - rank :] * (values[..., size - rank :] - rest).clamp(min=0).sqrt().unsqueeze(-2)
        variance = covariance.diagonal(dim1=-2, dim2=-1)
        if not torch._is_all_true(varies(data, weights.unsqueeze(-1))):
            raise ValueError(
                f"data of {cls.__name__}.fit must vary in every entry: the likelihood has no maximum otherwise."
            )
        diagonal = torch.maximum(variance - factor.square().sum(-1), 0.05 * variance)
        return maximum_likelihood(cls, data, weights, {"loc": loc, "cov_factor": factor, "cov_diag": diagonal})

    def _scaled_factor(self) -> Tensor:
        return self._unbroadcasted_cov_factor / self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)

    def _log_det(self) -> Tensor:
        return self._unbroadcasted_cov_diag.log().sum(-1) + 2 * log_diagonal(self._capacitance_tril)

    def _squared_distance(self, difference: Tensor) -> Tensor:
        scaled = difference / self._unbroadcasted_cov_diag.sqrt()
        explained = on_columns(self._explained, self._scaled_factor(), scaled)
        rest = scaled - multiplied(self._scaled_factor(), explained)
        return rest.square().sum(-1) + explained.square().sum(-1)

    def _trace_with(self, factor: Tensor) -> Tensor:
        """The trace of precision_matrix @ factor @ factor.mT."""
        scaled = factor / self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        explained = self._explained(scaled)
        rest = scaled - self._scaled_factor() @ explained
        return rest.square().sum((-2, -1)) + explained.square().sum((-2, -1))

    def _trace_with_diagonal(self, diagonal: Tensor) -> Tensor:
        """The trace of precision_matrix @ diag(diagonal)."""
        solved = substituted(self._capacitance_tril, self._scaled_factor().mT)
        # The diagonal of I - W^T C^-1 W is what remains of each entry's variance.
        return (diagonal / self._unbroadcasted_cov_diag * (1 - solved.square().sum(-2))).sum(-1)

    def _traces_under(self, other: "MultivariateNormal | LowRankMultivariateNormal") -> Tensor:
        """The trace of other's precision matrix times this covariance."""
        shared = other._trace_with(self._unbroadcasted_cov_factor)
        return shared + other._trace_with_diagonal(self._unbroadcasted_cov_diag)

    def _explained(self, columns: Tensor) -> Tensor:
        """The factors z that minimise |x - W z|^2 + |z|^2 for each scaled column x."""
        half = substituted(self._capacitance_tril, self._scaled_factor().mT @ columns)
        factors: Tensor = torch.linalg.solve_triangular(self._capacitance_tril.mT, half, upper=True)
        return factors


register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)(kl_of_normals)
register_kl(LowRankMultivariateNormal, MultivariateNormal)(kl_of_normals)
register_kl(MultivariateNormal, LowRankMultivariateNormal)(kl_of_normals)
