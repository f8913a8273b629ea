"""Student's t-distribution, accurate from heavy tails to its normal limit."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.location_scale import is_spare, located
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.remembered import remembered
from posterity.kernels import Key, Source, normal, student_t_cdf, student_t_icdf, student_t_log_cdf
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.reading import all_finite, lies_within, readable
from posterity.kernels.samplers import log_standard_gamma
from posterity.kernels.samplers.gamma_sampler import direct_gamma
from posterity.kernels.stirling import log_minus_digamma
from posterity.kernels.student_t import _log_density


class StudentT(Distribution, torch.distributions.StudentT):
    r"""Student's t-distribution: density proportional to $(1 + z^2 / df)^{-(df + 1) / 2}$, $z = (x - loc) / scale$.

    Args:
        df: Degrees of freedom, positive; any shape that broadcasts against the others.
        loc: Mode and median.
        scale: Positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 28.

    Example:
        >>> d = StudentT(torch.tensor([1.0, 1e8]))
        >>> d.log_prob(20.0)
        tensor([  -7.1387, -200.9185])
    """

    df: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        df: Tensor | float,
        loc: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise({"df": df, "loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        if readable(value, self.df):
            terms = remembered(self, _moderate_terms, self.df, self.scale)
            if terms is not None and all_finite(density := _moderate_density(terms, value - self.loc)):
                return density
        z = (value - self.loc) / self.scale
        return log_t_density(self.df, z) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return _halved(student_t_cdf(self.df, self._standardised(value)), self._standardised(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return student_t_log_cdf(self.df, self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return _halved(student_t_cdf(self.df, -self._standardised(value)), self._standardised(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return student_t_log_cdf(self.df, -self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.loc + self.scale * student_t_icdf(self.df, self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as a normal variable over the root of a gamma one, of shape `sample_shape + batch_shape`; finite."""
        half = remembered(self, _half, self.df)
        draws = located(standard_t(half, self._extended_shape(sample_shape), generator), self.loc, self.scale)
        largest = torch.finfo(draws.dtype).max
        return draws.clamp_(-largest, largest) if is_spare() else draws.clamp(-largest, largest)

    @property
    def median(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """`scale**2 * df / (df - 2)`, infinite for `df` up to 2 and NaN up to 1."""
        finite = self.scale.square() * (self.df / (self.df - 2).clamp(min=0))
        return torch.where(self.df > 1, finite, torch.nan)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return t_entropy(self.df) + self.scale.log()

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        refuse_constant("StudentT", data, weights)
        return t_start(data, weights, (weights * data).sum(0))

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _standardised(self, value: Tensor) -> Tensor:
        return (self._checked_value(value) - self.loc) / self.scale


# Up to these degrees of freedom log Gamma is rounded by less than 1e-6 or 2e-14; the square of z does not overflow.
_MODERATE = {torch.float32: 24.0, torch.float64: 60.0}
_FAR = 1e15


class _ModerateTerms(NamedTuple):
    """What the log density of moderate degrees of freedom takes from them and the scale."""

    inverse_width: Tensor
    power: Tensor
    constant: Tensor


def _moderate_terms(df: Tensor, scale: Tensor) -> _ModerateTerms | None:
    """These terms, or None where there are too many degrees of freedom, or they cannot be read."""
    if not readable(df, scale) or not lies_within(df, 0.0, _MODERATE[df.dtype]):
        return None
    half, width = 0.5 * widened(df), widened(scale) * widened(df).sqrt()
    constant = (half + 0.5).lgamma() - half.lgamma() - (math.sqrt(math.pi) * width).log()
    return _ModerateTerms(*(term.to(df.dtype) for term in (1 / width, -(half + 0.5), constant)))


def _moderate_density(terms: _ModerateTerms, distance: Tensor) -> Tensor:
    """The log density at a distance from the median; not finite where its square overflows."""
    return torch.addcmul(terms.constant, terms.power, (distance * terms.inverse_width).square().log1p_())


def log_t_density(df: Tensor, z: Tensor) -> Tensor:
    """The log density of the standard t-distribution."""
    if readable(df, z) and lies_within(df, 0.0, _MODERATE[df.dtype]) and lies_within(z, -_FAR, _FAR):
        half = 0.5 * df
        scale = (half + 0.5).lgamma() - half.lgamma() - 0.5 * (math.pi * df).log()
        return scale - (half + 0.5) * (z.square() / df).log1p()
    return _log_scale(df) - 0.5 * (df + 1) * _log1p_square(z * df.rsqrt())


def standard_t(half: Tensor, shape: torch.Size, generator: Source) -> Tensor:
    """Draws from the standard t-distribution of twice `half` degrees of freedom, with implicit gradients to it."""
    first, second = generator.split() if isinstance(generator, Key) else (generator, generator)
    noise = normal(shape, source=first, dtype=half.dtype, device=half.device)
    if (gamma := direct_gamma(half, shape, second)) is not None:
        return noise.mul_(gamma.div_(half).rsqrt_())
    log_gamma = log_standard_gamma(half.expand(shape), source=second)
    # In logarithms: the square of a draw of few degrees of freedom overflows.
    largest = 0.99 * math.log(torch.finfo(half.dtype).max)
    return noise * (0.5 * (half.log() - log_gamma)).clamp(max=largest).exp()


def t_entropy(df: Tensor) -> Tensor:
    """Entropy of the standard t-distribution."""
    half = 0.5 * df
    # psi(half + 1/2) - psi(half), without the digammas themselves, which are large.
    gap = (0.5 / half).log1p() + (log_minus_digamma(half) - log_minus_digamma(half + 0.5))
    return (half + 0.5) * gap - _log_scale(df)


def t_start(data: Tensor, weights: Tensor, loc: Tensor) -> dict[str, Tensor]:
    """Where a fit begins: four degrees of freedom, and the scale of their mean absolute deviation."""
    scale = (weights * (data - loc).abs()).sum(0)
    return {"df": torch.full_like(loc, 4.0), "loc": loc, "scale": torch.where(scale > 0, scale, 1)}


def _halved(probability: Tensor, z: Tensor) -> Tensor:
    """The probability, with the value at the median exactly one half and its gradient kept."""
    return probability + torch.where(z == 0, 0.5 - probability, 0).detach()


def _half(df: Tensor) -> Tensor:
    return 0.5 * df


def _log_scale(df: Tensor) -> Tensor:
    """The log density at 0."""
    wide = widened(df)
    return _log_density(wide, torch.zeros_like(wide)).to(df.dtype)


def _log1p_square(w: Tensor) -> Tensor:
    """log(1 + w^2), also where the square overflows."""
    far = w.abs() > 1e10
    near = torch.log1p(torch.where(far, 0, w).square())
    return torch.where(far, 2 * torch.where(far, w, 1).abs().log(), near)
