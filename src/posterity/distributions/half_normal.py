"""The half-normal distribution: the distance of a normal variable from its mean."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.exponential import Exponential
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import scaled
from posterity.distributions.normal import Normal
from posterity.kernels import Source, log_ndtr, ndtri, normal


class HalfNormal(Distribution):
    r"""The half-normal distribution, of $scale |Z|$ for a standard normal $Z$.

    Args:
        scale: Standard deviation of the normal variable, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `scale` is neither a number nor a real tensor.
        ValueError: It is not positive.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, section 10.1.

    Example:
        >>> d = HalfNormal(1.0)
        >>> d.mean, d.log_survival_function(20.0)
        (tensor(0.7979), tensor(-203.2240))
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.nonnegative
    has_rsample = True

    scale: Tensor

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        z = value / self.scale
        offset = self.scale.log().neg_().add_(0.5 * math.log(2 / math.pi))
        return self._inside_only(value, torch.addcmul(offset, z, z, value=-0.5))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return torch.erf(self._standardised(value) * math.sqrt(0.5))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return log_half_normal_cdf(self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return torch.erfc(self._standardised(value) * math.sqrt(0.5))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return log_half_normal_tail(self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.scale * half_normal_quantile(self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `scale * |noise|`, of shape `sample_shape + batch_shape`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.scale.dtype, device=self.scale.device)
        return scaled(noise.abs_(), self.scale)

    @property
    def mean(self) -> Tensor:
        """`scale * sqrt(2 / pi)`."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        """`scale^2 * (1 - 2 / pi)`."""
        return self.scale.square() * (1 - 2 / math.pi)

    @property
    def mode(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.scale)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + 0.5 * math.log(math.pi / 2) + 0.5

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the root of the mean square.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is negative, or all are zero: the likelihood then has no maximum.

        Example:
            >>> HalfNormal.fit(torch.tensor([1.0, 7.0])).scale
            tensor(5.)
        """
        data, weights = fit_data("HalfNormal", data, weights)
        fitted = cls((weights * data.square()).sum(0).sqrt())
        fitted._check_values("data", data, cls.support)
        return fitted

    def _standardised(self, value: Tensor) -> Tensor:
        return self._checked_value(value).clamp(min=0) / self.scale


# The tails of |Z| for a standard normal Z; each branch sees only its own half.


def log_half_normal_cdf(z: Tensor) -> Tensor:
    """Log of P(|Z| <= z)."""
    near = torch.erf(torch.where(z < 1, z, 1) * math.sqrt(0.5)).log()
    far = torch.log1p(-torch.erfc(z.clamp(min=1) * math.sqrt(0.5)))
    return torch.where(z < 1, near, far)


def log_half_normal_tail(z: Tensor) -> Tensor:
    """Log of P(|Z| > z)."""
    near = torch.log1p(-torch.erf(z.clamp(max=0.5) * math.sqrt(0.5)))
    far = log_ndtr(-z.clamp(min=0.5)) + math.log(2)
    return torch.where(z < 0.5, near, far)


def half_normal_quantile(level: Tensor) -> Tensor:
    """Where P(|Z| <= z) is `level`."""
    near = math.sqrt(2) * torch.erfinv(level.clamp(max=0.5))
    # 1 - level is exact.
    far = -ndtri(0.5 * (1 - level.clamp(min=0.5)))
    return torch.where(level < 0.5, near, far)


def half_normal_tail_quantile(tail: Tensor) -> Tensor:
    """Where P(|Z| > z) is `tail`."""
    far = -ndtri(0.5 * tail.clamp(max=0.5))
    near = math.sqrt(2) * torch.erfinv(1 - tail.clamp(min=0.5))
    return torch.where(tail < 0.5, far, near)


@register_kl(HalfNormal, HalfNormal)
def _kl_half_normal_half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    # With r the log ratio of scales, expm1(2r) - 2r keeps its digits where the scales are close.
    r = (p.scale / q.scale).log()
    return 0.5 * (torch.expm1(2 * r) - 2 * r)


@register_kl(HalfNormal, Exponential)
def _kl_half_normal_exponential(p: HalfNormal, q: Exponential) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


@register_kl(HalfNormal, Normal)
def _kl_half_normal_normal(p: HalfNormal, q: Normal) -> Tensor:
    return _normal_cross_entropy(p.mean, p.variance, q) - p.entropy()


@register_kl(Exponential, HalfNormal)
def _kl_exponential_half_normal(p: Exponential, q: HalfNormal) -> Tensor:
    second_moment = 2 / (p.rate * q.scale).square()
    return 0.5 * second_moment + q.scale.log() - 0.5 * math.log(2 / math.pi) - p.entropy()


@register_kl(Exponential, Normal)
def _kl_exponential_normal(p: Exponential, q: Normal) -> Tensor:
    return _normal_cross_entropy(p.mean, p.variance, q) - p.entropy()


def _normal_cross_entropy(mean: Tensor, variance: Tensor, q: Normal) -> Tensor:
    second_moment = ((mean - q.loc) / q.scale).square() + variance / q.scale.square()
    return 0.5 * second_moment + q.scale.log() + 0.5 * math.log(2 * math.pi)
