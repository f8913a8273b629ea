"""The gamma distribution: sums of waiting times, and the chi-squared distribution as its special case."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.exponential import Exponential
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import is_spare
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, gammainc, gammaincc, gammaincinv, log_gammainc, log_gammaincc
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.log_gamma_density import log_gamma_density
from posterity.kernels.reading import all_finite, lies_within, readable
from posterity.kernels.samplers import standard_gamma
from posterity.kernels.stirling import (
    HALF_LOG_TAU,
    lgamma_excess,
    log_minus_digamma,
    stirling_error,
    trigamma_excess,
)


class Gamma(Distribution, torch.distributions.Gamma):
    r"""The gamma distribution, with density $rate^a x^{a-1} e^{-rate\,x} / \Gamma(a)$ where a is the concentration.

    Args:
        concentration: Positive; any shape that broadcasts against `rate`.
        rate: Positive; the inverse of the scale.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 17.

    Example:
        >>> d = Gamma(2.0, 0.5)
        >>> d.mean, d.log_survival_function(1000.0)
        (tensor(4.), tensor(-493.7834))
    """

    concentration: Tensor
    rate: Tensor

    def __init__(self, concentration: Tensor | float, rate: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        if readable(value, self._like()):
            terms = self._moderate_terms()
            if terms is not None and all_finite(density := moderate_density(terms, value)):
                return density
        return self._inside_only(value, log_gamma_density(self.concentration, self.rate * value) + self.rate.log())

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return gammainc(self.concentration, self._scaled(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return log_gammainc(self.concentration, self._scaled(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return gammaincc(self.concentration, self._scaled(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return log_gammaincc(self.concentration, self._scaled(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return gammaincinv(self.concentration, self._checked_level(value)) / self.rate

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws with the gradient of their quantiles, of shape `sample_shape + batch_shape`; positive and finite."""
        draws = standard_gamma(self.concentration, tuple(sample_shape), source=generator)
        info = torch.finfo(draws.dtype)
        if is_spare():
            return draws.div_(self.rate).clamp_(info.tiny, info.max)
        return (draws / self.rate).clamp(info.tiny, info.max)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        a = self.concentration
        rest = HALF_LOG_TAU + stirling_error(a) + (a - 1) * log_minus_digamma(a)
        return 0.5 * a.log() - self.rate.log() + rest

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the rate follows from the concentration, which Newton's steps find.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive, or the draws of one batch element are all equal: the likelihood
                then has no maximum.

        Source: Minka (2002), Estimating a gamma distribution, equation 1.

        Example:
            >>> Gamma.fit(torch.tensor([1.0, 2.0, 3.0])).mean
            tensor(2.)
        """
        data, weights = fit_data(cls.__name__, data, weights)
        cls(data.new_ones(()), 1.0)._check_values("data", data, constraints.positive)
        refuse_constant(cls.__name__, data, weights)
        x, w = data.double(), weights.double()
        mean = (w * x).sum(0) / w.sum(0)
        # How far the mean log of x / mean lies below 0, from terms none of which is negative.
        excess = (x - mean) / mean
        gap = ((w * (excess - excess.log1p())).sum(0) / w.sum(0)).clamp(min=torch.finfo(x.dtype).eps ** 2)
        a = (3 - gap + ((gap - 3).square() + 24 * gap).sqrt()) / (12 * gap)
        for _ in range(_NUM_STEPS):
            a = 1 / (1 / a - (log_minus_digamma(a) - gap) / (a.square() * trigamma_excess(a)))
        return cls(a.to(data.dtype), (a / mean).to(data.dtype))

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _moderate_terms(self) -> "ModerateTerms | None":
        return remembered(self, moderate_terms, self.concentration, self.rate)

    def _scaled(self, value: Tensor) -> Tensor:
        return (self.rate * self._checked_value(value)).clamp(min=0)


_NUM_STEPS = 6

# Up to here the rounding of a log(a), the largest term, keeps the log density within 2.5e-6 and 8e-14 of 1 + |itself|.
_MODERATE = {torch.float32: 10.0, torch.float64: 50.0}


class ModerateTerms(NamedTuple):
    """What the log density of moderate concentrations takes from the parameters."""

    rate: Tensor
    exponent: Tensor
    constant: Tensor


def moderate_terms(concentration: Tensor, rate: Tensor) -> ModerateTerms | None:
    """These terms, or None where a concentration is too large, or cannot be read."""
    if not readable(concentration, rate) or not lies_within(concentration, 0.0, _MODERATE[rate.dtype]):
        return None
    constant = widened(rate).log() - widened(concentration).lgamma()
    return ModerateTerms(rate, concentration - 1, constant.to(rate.dtype))


def moderate_density(terms: ModerateTerms, value: Tensor) -> Tensor:
    """The log density inside the support for moderate concentrations; not finite at 0 and outside."""
    y = terms.rate * value
    return torch.addcmul(terms.constant, terms.exponent, y.log()).sub_(y)


def kl_between_gammas(concentration: Tensor, rate: Tensor, other_concentration: Tensor, other_rate: Tensor) -> Tensor:
    """KL between two gamma distributions, in a form without large terms that cancel."""
    # Of rates at the same concentration, a (c - 1 - log c) with c their ratio; the rest is that of unit rates.
    change = (other_rate - rate) / rate
    log_ratio = torch.where(change.abs() < 0.5, torch.log1p(change.clamp(-0.5, 0.5)), other_rate.log() - rate.log())
    return (
        lgamma_excess(concentration, other_concentration)
        + concentration * (change - log_ratio)
        + (concentration - other_concentration) * log_ratio
    )


@register_kl(Gamma, Gamma)
def _kl_gamma_gamma(p: Gamma, q: Gamma) -> Tensor:
    return kl_between_gammas(p.concentration, p.rate, q.concentration, q.rate)


@register_kl(Exponential, Gamma)
def _kl_exponential_gamma(p: Exponential, q: Gamma) -> Tensor:
    return kl_between_gammas(torch.ones_like(p.rate), p.rate, q.concentration, q.rate)


@register_kl(Gamma, Exponential)
def _kl_gamma_exponential(p: Gamma, q: Exponential) -> Tensor:
    return kl_between_gammas(p.concentration, p.rate, torch.ones_like(q.rate), q.rate)
