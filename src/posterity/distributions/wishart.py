"""The Wishart distribution over positive definite matrices: sums of squares of normal vectors."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.covariance import (
    Covariance,
    checked_cholesky,
    factor_of,
    last_sizes,
    log_diagonal,
    positive_definite,
    require_square,
    substituted,
)
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.multivariate_gamma import (
    bartlett_factor,
    likeliest_df,
    log_multigamma,
    multidigamma,
    square,
)
from posterity.distributions.parameters import exactly_one
from posterity.kernels import Source


class Wishart(Covariance, Distribution, torch.distributions.Wishart):
    r"""The Wishart distribution, with density $\propto |X|^{(df - p - 1) / 2} e^{-tr(V^{-1} X) / 2}$.

    For a whole df it is the law of the sum of df squares $x x^T$ of normal vectors with covariance V.

    Args:
        df: Degrees of freedom, above p - 1, `[*batch_shape]`.
        covariance_matrix: V, positive definite, `[*batch_shape, p, p]`.
        precision_matrix: $V^{-1}$, positive definite, `[*batch_shape, p, p]`.
        scale_tril: Lower triangular L with a positive diagonal and $L L^T = V$, `[*batch_shape, p, p]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Not exactly one matrix is given, shapes do not fit, or a value violates its constraint.

    Source: Anderson, An Introduction to Multivariate Statistical Analysis, 2003, chapter 7.

    Example:
        >>> d = Wishart(5.0, torch.eye(2))
        >>> d.mean, d.entropy()
        (tensor([[5., 0.],
                [0., 5.]]), tensor(6.8105))
    """

    arg_constraints = {  # noqa: RUF012  # torch's needs an instance; df is compared with p - 1 in the constructor
        "df": constraints.positive,
        "covariance_matrix": positive_definite,
        "precision_matrix": positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = positive_definite

    df: Tensor

    def __init__(
        self,
        df: Tensor | float,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = exactly_one(
            "Wishart", covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril
        )
        ((name, matrix),) = given.items()
        require_square("Wishart", name, matrix)
        shape = last_sizes(matrix, 2)
        self._initialise({"df": df, **given}, event_shape=shape, validate_args=validate_args)
        self._check_values("df", self.df, constraints.greater_than(shape[-1] - 1))
        # Before it is broadcast: one factor serves a whole batch of df.
        self._unbroadcasted_scale_tril = factor_of(name, torch.as_tensor(matrix).to(self.df.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the entries on and below the diagonal of `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        factor = checked_cholesky(value)
        size = self.event_shape[-1]
        white = substituted(self._unbroadcasted_scale_tril, factor)
        weight = (self.df - size - 1) * log_diagonal(factor) - 0.5 * white.square().sum((-2, -1))
        return weight - self._log_normaliser()

    # torch's second argument asks for draws to be repeated until none is singular; here none is.
    def rsample(  # type: ignore[override]
        self, sample_shape: _size = (), *, generator: Source = None
    ) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [p, p]`, by Bartlett's decomposition."""
        factor = bartlett_factor(self.df, self.event_shape[-1], sample_shape, generator)
        return square(self._unbroadcasted_scale_tril @ factor)

    @property
    def mean(self) -> Tensor:
        """`df * covariance_matrix`."""
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry, `df * (V_ij^2 + V_ii V_jj)`."""
        diagonal = self.covariance_matrix.diagonal(dim1=-2, dim2=-1)
        products = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self.df[..., None, None] * (self.covariance_matrix.square() + products)

    @property
    def mode(self) -> Tensor:
        """`(df - p - 1) * covariance_matrix`; NaN where `df` is below p + 1, as the density is unbounded."""
        factor = self.df - self.event_shape[-1] - 1
        factor = torch.where(factor >= 0, factor, torch.nan)
        return factor[..., None, None] * self.covariance_matrix

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        size = self.event_shape[-1]
        weight = 0.5 * (self.df - size - 1) * self._mean_log_det() - 0.5 * self.df * size
        return (self._log_normaliser() - weight).expand(self.batch_shape)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the covariance is the mean over df, and df the root of one equation.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, p, p]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive definite.
            ArithmeticError: The likelihood has no maximum, as where all draws are alike.

        Example:
            >>> draws = Wishart(5.0, torch.eye(2)).sample((20_000,), generator=torch.Generator())
            >>> bool((Wishart.fit(draws).df - 5).abs() < 0.3)
            True
        """
        data, weights = fit_data("Wishart", data, weights, event_rank=2)
        df, mean = fitted_wishart(cls, data, weights)
        covariance = mean / df[..., None, None]
        return cls(df.to(data.dtype), covariance_matrix=covariance.to(data.dtype))

    def _log_normaliser(self) -> Tensor:
        size = self.event_shape[-1]
        volume = 0.5 * size * math.log(2) + log_diagonal(self._unbroadcasted_scale_tril)
        return self.df * volume + log_multigamma(0.5 * self.df, size)

    def _mean_log_det(self) -> Tensor:
        size = self.event_shape[-1]
        log_det = 2 * log_diagonal(self._unbroadcasted_scale_tril) + size * math.log(2)
        return log_det + multidigamma(0.5 * self.df, size)


def fitted_wishart(owner: type[Distribution], data: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest df and the mean of Wishart draws, in float64; data and weights as `fit_data` gives them.

    Raises:
        ValueError: A draw is not positive definite.
        ArithmeticError: The likelihood has no maximum.
    """
    data, weights = data.double(), weights.double()
    # Weights of single precision add up to 1 within its rounding only.
    weights = weights / weights.sum(0)
    size = data.shape[-1]
    require_square(f"{owner.__name__}.fit", "data", data)
    identity = torch.eye(size, dtype=data.dtype, device=data.device)
    Wishart(float(size), scale_tril=identity)._check_values("data", data, positive_definite)
    mean = (weights[..., None, None] * data).sum(0)
    mean_log_det = (weights * 2 * log_diagonal(torch.linalg.cholesky(data))).sum(0)
    log_det_mean = 2 * log_diagonal(torch.linalg.cholesky(mean))
    return likeliest_df(owner.__name__, mean_log_det, log_det_mean, size), mean


@register_kl(Wishart, Wishart)
def _kl_wishart_wishart(p: Wishart, q: Wishart) -> Tensor:
    relative = substituted(q._unbroadcasted_scale_tril, p._unbroadcasted_scale_tril)
    return kl_of_wisharts(p.df, q.df, relative)


def kl_of_wisharts(p_df: Tensor, q_df: Tensor, relative: Tensor) -> Tensor:
    """KL of two Wishart distributions, with `relative` = L_q^-1 L_p of their scale factors."""
    size = relative.shape[-1]
    scales = q_df * (-2 * log_diagonal(relative)) + p_df * (relative.square().sum((-2, -1)) - size)
    degrees = 2 * (log_multigamma(0.5 * q_df, size) - log_multigamma(0.5 * p_df, size))
    return 0.5 * (scales + degrees + (p_df - q_df) * multidigamma(0.5 * p_df, size))
