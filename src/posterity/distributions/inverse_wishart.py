"""The inverse Wishart distribution over positive definite matrices: the conjugate prior of a normal's covariance."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.covariance import (
    checked_cholesky,
    factor_of,
    inverse_factor,
    last_sizes,
    log_diagonal,
    positive_definite,
    require_square,
    substituted,
)
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.multivariate_gamma import bartlett_factor, log_multigamma, multidigamma, square
from posterity.distributions.parameters import exactly_one
from posterity.distributions.wishart import fitted_wishart, kl_of_wisharts
from posterity.kernels import Source


class InverseWishart(Distribution):
    r"""The inverse Wishart distribution, with density $\propto |X|^{-(df + p + 1) / 2} e^{-tr(\Psi X^{-1}) / 2}$.

    $X^{-1}$ follows the Wishart distribution with df degrees of freedom and covariance $\Psi^{-1}$.

    Args:
        df: Degrees of freedom, above p - 1, `[*batch_shape]`.
        scale_matrix: $\Psi$, positive definite, `[*batch_shape, p, p]`.
        scale_tril: Lower triangular L with a positive diagonal and $L L^T = \Psi$, `[*batch_shape, p, p]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Not exactly one matrix is given, shapes do not fit, or a value violates its constraint.

    Source: Gelman et al., Bayesian Data Analysis, 2013, appendix A; von Rosen, Moments for the Inverted Wishart
    Distribution, 1988, for the variance.

    Example:
        >>> d = InverseWishart(6.0, torch.eye(2))
        >>> d.mean[0, 0], d.mode[0, 0]
        (tensor(0.3333), tensor(0.1111))
    """

    arg_constraints = {  # noqa: RUF012  # df is compared with p - 1 in the constructor
        "df": constraints.positive,
        "scale_matrix": positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = positive_definite
    has_rsample = True

    df: Tensor

    def __init__(
        self,
        df: Tensor | float,
        scale_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = exactly_one("InverseWishart", scale_matrix=scale_matrix, scale_tril=scale_tril)
        ((name, matrix),) = given.items()
        require_square("InverseWishart", name, matrix)
        shape = last_sizes(matrix, 2)
        self._initialise({"df": df, **given}, event_shape=shape, validate_args=validate_args)
        self._check_values("df", self.df, constraints.greater_than(shape[-1] - 1))
        # Before it is broadcast: one factor serves a whole batch of df.
        self._factor = factor_of(name, torch.as_tensor(matrix).to(self.df.dtype))

    @lazy_property
    def scale_tril(self) -> Tensor:
        """Lower triangular Cholesky factor of `scale_matrix`, `[*batch_shape, p, p]`."""
        return self._factor.expand(self.batch_shape + self.event_shape)

    @lazy_property
    def scale_matrix(self) -> Tensor:
        """`scale_tril @ scale_tril.mT`, `[*batch_shape, p, p]`."""
        return (self._factor @ self._factor.mT).expand(self.batch_shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the entries on and below the diagonal of `value`, of shape `sample_shape + batch_shape`."""
        factor = checked_cholesky(self._checked_value(value, support=True))
        white = substituted(factor, self._factor)
        weight = (self.df + self.event_shape[-1] + 1) * log_diagonal(factor) + 0.5 * white.square().sum((-2, -1))
        return -weight - self._log_normaliser()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [p, p]`, by Bartlett's decomposition of the inverse."""
        bartlett = bartlett_factor(self.df, self.event_shape[-1], sample_shape, generator)
        return square(self._factor @ inverse_factor(bartlett).mT)

    @property
    def mean(self) -> Tensor:
        """`scale_matrix / (df - p - 1)`; where `df` is at most p + 1, infinite on the diagonal and NaN beside it."""
        excess = self._excess()
        exists = excess > 0
        finite = self.scale_matrix / torch.where(exists, excess, 1.0)
        return torch.where(exists, finite, self._diverging())

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry; where `df` is at most p + 3, infinite where there is a mean and else NaN."""
        excess = self._excess()
        diagonal = self.scale_matrix.diagonal(dim1=-2, dim2=-1)
        products = excess * diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        finite = (excess + 2) * self.scale_matrix.square() + products
        exists = excess > 2
        safe = torch.where(exists, excess, 3.0)
        finite = finite / ((safe + 1) * safe.square() * (safe - 2))
        return torch.where(exists, finite, torch.where(excess > 0, torch.inf, torch.nan))

    @property
    def mode(self) -> Tensor:
        """`scale_matrix / (df + p + 1)`."""
        return self.scale_matrix / (self.df[..., None, None] + self.event_shape[-1] + 1)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        size = self.event_shape[-1]
        log_det = 2 * log_diagonal(self._factor) - size * math.log(2) - multidigamma(0.5 * self.df, size)
        entropy = self._log_normaliser() + 0.5 * (self.df + size + 1) * log_det + 0.5 * self.df * size
        return entropy.expand(self.batch_shape)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: that of the Wishart distribution of the inverses.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, p, p]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive definite.
            ArithmeticError: The likelihood has no maximum, as where all draws are alike.

        Example:
            >>> draws = InverseWishart(5.0, torch.eye(2)).sample((20_000,), generator=torch.Generator())
            >>> bool((InverseWishart.fit(draws).df - 5).abs() < 0.3)
            True
        """
        data, weights = fit_data("InverseWishart", data, weights, event_rank=2)
        require_square("InverseWishart.fit", "data", data)
        size = data.shape[-1]
        identity = torch.eye(size, dtype=data.dtype, device=data.device)
        cls(float(size), identity)._check_values("data", data, positive_definite)
        df, mean = fitted_wishart(cls, torch.cholesky_inverse(torch.linalg.cholesky(data.double())), weights)
        scale = torch.cholesky_inverse(torch.linalg.cholesky(mean)) * df[..., None, None]
        return cls(df.to(data.dtype), scale_matrix=scale.to(data.dtype))

    def _excess(self) -> Tensor:
        return self.df[..., None, None] - self.event_shape[-1] - 1

    def _diverging(self) -> Tensor:
        diagonal = torch.eye(self.event_shape[-1], dtype=torch.bool, device=self.df.device)
        return torch.where(diagonal, torch.inf, torch.full_like(self.scale_matrix, torch.nan))

    def _log_normaliser(self) -> Tensor:
        size = self.event_shape[-1]
        volume = 0.5 * size * math.log(2) - log_diagonal(self._factor)
        return self.df * volume + log_multigamma(0.5 * self.df, size)


@register_kl(InverseWishart, InverseWishart)
def _kl_inverse_wishart(p: InverseWishart, q: InverseWishart) -> Tensor:
    # That of the inverses, whose scale factors are the inverse transposes; the trace sees L_p^-1 L_q.
    return kl_of_wisharts(p.df, q.df, substituted(p._factor, q._factor))
