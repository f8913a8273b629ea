"""The beta distribution on the unit interval."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import refuse_constant, refuse_ends
from posterity.distributions.kl import register_kl
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, betainc, betaincc, betaincinv, log_betainc, log_betaincc
from posterity.kernels.incomplete_beta import log_beta_density, widened
from posterity.kernels.reading import all_finite, lies_within, readable
from posterity.kernels.samplers import beta
from posterity.kernels.samplers.gamma_sampler import gamma_ratio_terms
from posterity.kernels.stirling import HALF_LOG_TAU, lgamma_excess, log_minus_digamma, stirling_error


class Beta(Distribution, torch.distributions.Beta):
    r"""The beta distribution, with density $x^{a-1} (1-x)^{b-1} / B(a, b)$ on [0, 1].

    Args:
        concentration1: a, positive; any shape that broadcasts against `concentration0`.
        concentration0: b, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 25.

    Example:
        >>> d = Beta(2.0, 3.0)
        >>> d.mean, d.cdf(1e-10), d.icdf(0.5)
        (tensor(0.4000), tensor(6.0000e-20), tensor(0.3857))
    """

    # Plain attributes, in front of torch's properties of a Dirichlet, which is not made here.
    concentration1: Tensor = None  # type: ignore[assignment]
    concentration0: Tensor = None  # type: ignore[assignment]

    def __init__(
        self, concentration1: Tensor | float, concentration0: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self._initialise(
            {"concentration1": concentration1, "concentration0": concentration0}, validate_args=validate_args
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        if readable(value, self.concentration1):
            terms = remembered(self, moderate_terms, self.concentration1, self.concentration0)
            if terms is not None and all_finite(density := moderate_density(terms, value)):
                return density
        x = widened(value)
        density = log_beta_density(widened(self.concentration1), widened(self.concentration0), x, (1 - x).detach())
        return self._inside_only(value, density.to(torch.promote_types(value.dtype, self.concentration1.dtype)))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support and 1 above it."""
        return betainc(self.concentration1, self.concentration0, self._within(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return log_betainc(self.concentration1, self.concentration0, self._within(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support and 0 above it."""
        return betaincc(self.concentration1, self.concentration0, self._within(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return log_betaincc(self.concentration1, self.concentration0, self._within(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return betaincinv(self.concentration1, self.concentration0, self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws inside (0, 1) with implicit gradients, of shape `sample_shape + batch_shape`."""
        a, b = self.concentration1, self.concentration0
        if (gammas := gamma_ratio_terms(a, b, self._extended_shape(sample_shape), generator)) is not None:
            one, other = gammas
            return one.div_(other.add_(one)).clamp_(torch.finfo(one.dtype).tiny, _below_one(one.dtype))
        return beta(a, b, tuple(sample_shape), source=generator)

    @property
    def variance(self) -> Tensor:
        """`a b / ((a + b)**2 (a + b + 1))`."""
        total = self.concentration1 + self.concentration0
        return (self.concentration1 / total) * (self.concentration0 / total) / (total + 1)

    @property
    def mode(self) -> Tensor:
        """`(a - 1) / (a + b - 2)`, or the end where the density is infinite; 0 where it is at both, or uniform."""
        a, b = self.concentration1 - 1, self.concentration0 - 1
        inner = (a > 0) & (b > 0)
        ends = torch.where((a > b) & (b <= 0) & (a >= 0), torch.ones_like(a), 0)
        return torch.where(inner, a / torch.where(inner, a + b, 1), ends)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        a, b = self.concentration1, self.concentration0
        n = a + b
        logs = 0.5 * ((a / n).log() + (b / n).log() - n.log()) + HALF_LOG_TAU
        errors = stirling_error(a) + stirling_error(b) - stirling_error(n)
        # Where both are large, each product is near 1/2 but for its part that falls like 1 / a.
        means = (a - 1) * log_minus_digamma(a) + (b - 1) * log_minus_digamma(b) - (n - 2) * log_minus_digamma(n)
        return logs + errors + means

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        refuse_ends(cls.__name__, data)
        refuse_constant(cls.__name__, data, weights)
        mean = (weights * data).sum(0).clamp(1e-3, 1 - 1e-3)
        variance = (weights * (data - mean).square()).sum(0)
        total = (mean * (1 - mean) / variance.clamp(min=1e-9) - 1).clamp(min=0.1)
        return {"concentration1": mean * total, "concentration0": (1 - mean) * total}

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _within(self, value: Tensor) -> Tensor:
        return self._checked_value(value).clamp(0, 1)


# Up to these concentrations the largest terms are rounded by less than 2e-14, also for sums of both. Other numbers than
# those of double precision are computed in it.
MODERATE = {torch.float32: 1e6, torch.float64: 25.0}


class ModerateTerms(NamedTuple):
    """What the log density of moderate concentrations takes from them, in double precision: exponents, normaliser."""

    of_x: Tensor
    of_rest: Tensor
    constant: Tensor


def moderate_terms(a: Tensor, b: Tensor) -> ModerateTerms | None:
    """These terms, or None where the concentrations are too large, or cannot be read."""
    if not readable(a, b) or not all(lies_within(c, 0.0, MODERATE[a.dtype]) for c in (a, b)):
        return None
    a, b = widened(a), widened(b)
    return ModerateTerms(a - 1, b - 1, -log_beta(a, b))


def moderate_density(terms: ModerateTerms, value: Tensor) -> Tensor:
    """The log density inside (0, 1) for moderate concentrations; not finite at the ends and outside."""
    x = widened(value)
    density = torch.addcmul(terms.constant, terms.of_x, x.log()).addcmul_(terms.of_rest, (-x).log1p_())
    return density.to(value.dtype)


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """The logarithm of the beta function of moderate concentrations."""
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


def _below_one(dtype: torch.dtype) -> float:
    return 1 - torch.finfo(dtype).eps / 2


@register_kl(Beta, Beta)
def _kl_beta_beta(p: Beta, q: Beta) -> Tensor:
    total_p, total_q = p.concentration1 + p.concentration0, q.concentration1 + q.concentration0
    return (
        lgamma_excess(p.concentration1, q.concentration1)
        + lgamma_excess(p.concentration0, q.concentration0)
        - lgamma_excess(total_p, total_q)
    )
