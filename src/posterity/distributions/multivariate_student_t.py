"""Student's t distribution over vectors: a normal whose scale is itself random."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.covariance import (
    factor_of,
    last_sizes,
    log_diagonal,
    multiplied,
    require_event_shape,
    whitened,
)
from posterity.distributions.multivariate_normal import refuse_flat, weighted_moments
from posterity.kernels import Source, normal
from posterity.kernels.gamma_ratio import digamma_difference, log_gamma_ratio
from posterity.kernels.samplers import log_standard_gamma


class MultivariateStudentT(Distribution):
    r"""Student's t over vectors, with density $\propto (1 + |z|^2 / df)^{-(df + n) / 2}$ and $x = loc + L z$.

    Args:
        df: Degrees of freedom, positive, `[*batch_shape]`; moments of order df and above do not exist.
        loc: Centre, `[*batch_shape, n]`.
        scale_tril: Lower triangular L with a positive diagonal, `[*batch_shape, n, n]`. The covariance is
            $df / (df - 2) L L^T$.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not fit, or a value violates its constraint.

    Source: Kotz and Nadarajah, Multivariate t Distributions and Their Applications, 2004, chapter 1.

    Example:
        >>> d = MultivariateStudentT(4.0, torch.zeros(2), torch.eye(2))
        >>> d.variance, d.log_prob(torch.zeros(2))
        (tensor([2., 2.]), tensor(-1.8379))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "df": constraints.positive,
        "loc": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    df: Tensor
    loc: Tensor
    scale_tril: Tensor

    def __init__(self, df: Tensor | float, loc: Tensor, scale_tril: Tensor, validate_args: bool | None = None) -> None:
        size = last_sizes(loc, 1)
        require_event_shape("MultivariateStudentT", "scale_tril", scale_tril, size + size)
        parameters = {"df": df, "loc": loc, "scale_tril": scale_tril}
        self._initialise(parameters, event_shape=size, validate_args=validate_args)
        # Before it is broadcast: one factor serves a whole batch of centres.
        self._factor = factor_of("scale_tril", scale_tril.to(self.loc.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z = whitened(self._factor, self._checked_value(value, support=True) - self.loc)
        tail = 0.5 * (self.df + z.shape[-1]) * torch.log1p(z.square().sum(-1) / self.df)
        return -tail - self._log_normaliser()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [n]`: normal noise over the root of a gamma variate."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        log_gamma = log_standard_gamma(0.5 * self.df, sample_shape, source=generator)
        log_spread = 0.5 * ((0.5 * self.df).log() - log_gamma)
        # A finite draw even where few degrees of freedom take it beyond the floating-point numbers.
        spread = log_spread.clamp(max=0.9 * math.log(torch.finfo(noise.dtype).max)).exp()
        return self.loc + spread.unsqueeze(-1) * multiplied(self._factor, noise)

    @property
    def mean(self) -> Tensor:
        """`loc`; NaN where `df` is at most 1."""
        return torch.where(self.df.unsqueeze(-1) > 1, self.loc, torch.nan)

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry; infinite where `df` is at most 2, NaN where it is at most 1."""
        return self._inflation().unsqueeze(-1) * self.scale_tril.square().sum(-1)

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance, `[*batch_shape, n, n]`; NaN where `df` is at most 2."""
        inflation = torch.where(self.df > 2, self._inflation(), torch.nan)
        return inflation[..., None, None] * (self.scale_tril @ self.scale_tril.mT)

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        half_size = 0.5 * self.event_shape[0]
        tail = (0.5 * self.df + half_size) * digamma_difference(0.5 * self.df, half_size)
        return (self._log_normaliser() + tail).expand(self.batch_shape)

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        loc, covariance = weighted_moments(data.double(), weights.double())
        df = covariance.new_full(covariance.shape[:-2], 6.0)
        refuse_flat("MultivariateStudentT", data, weights, covariance)
        return {"df": df, "loc": loc, "scale_tril": torch.linalg.cholesky(covariance * (4 / 6))}

    def _inflation(self) -> Tensor:
        finite = self.df > 2
        factor = self.df / torch.where(finite, self.df - 2, 1.0)
        return torch.where(finite, factor, torch.where(self.df > 1, torch.inf, torch.nan))

    def _log_normaliser(self) -> Tensor:
        half_size = 0.5 * self.event_shape[0]
        volume = half_size * (self.df.log() + math.log(math.pi)) + log_diagonal(self._factor)
        return volume - log_gamma_ratio(0.5 * self.df, half_size)
