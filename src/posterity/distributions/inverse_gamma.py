"""The inverse gamma distribution: one over a gamma variable, the conjugate prior of variances."""

from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.fitting import fit_data
from posterity.distributions.gamma import Gamma, kl_between_gammas
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import is_spare
from posterity.distributions.power_landmarks import power_landmarks
from posterity.kernels import Source, gammainc, gammaincc, gammainccinv, log_gammainc, log_gammaincc
from posterity.kernels.log_gamma_density import log_gamma_density
from posterity.kernels.samplers import standard_gamma
from posterity.kernels.stirling import HALF_LOG_TAU, log_minus_digamma, stirling_error


class InverseGamma(Distribution):
    r"""The distribution of 1 / X for X from Gamma(a, rate), with density $rate^a x^{-a-1} e^{-rate/x} / \Gamma(a)$.

    Args:
        concentration: a, positive; any shape that broadcasts against `rate`.
        rate: Rate of the gamma distribution, positive; it is the scale of this one.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, section 17.8.

    Example:
        >>> d = InverseGamma(3.0, 4.0)
        >>> d.mean, d.log_cdf(0.01)
        (tensor(2.), tensor(-388.7052))
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.positive
    has_rsample = True

    concentration: Tensor
    rate: Tensor

    def __init__(self, concentration: Tensor | float, rate: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        inside, y = self._inverse(value)
        density = log_gamma_density(self.concentration, y) + 2 * y.log() - self.rate.log()
        return torch.where(inside & (value != torch.inf), density, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        inside, y = self._inverse(value)
        return torch.where(inside, gammaincc(self.concentration, y), 0)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        inside, y = self._inverse(value)
        return torch.where(inside, log_gammaincc(self.concentration, y), -torch.inf)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        inside, y = self._inverse(value)
        return torch.where(inside, gammainc(self.concentration, y), 1)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        inside, y = self._inverse(value)
        return torch.where(inside, log_gammainc(self.concentration, y), 0)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.rate / gammainccinv(self.concentration, self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws with the gradient of their quantiles, of shape `sample_shape + batch_shape`; positive and finite."""
        draws = standard_gamma(self.concentration, tuple(sample_shape), source=generator)
        info = torch.finfo(draws.dtype)
        if is_spare():
            return draws.reciprocal_().mul_(self.rate).clamp_(info.tiny, info.max)
        return (self.rate / draws).clamp(info.tiny, info.max)

    @property
    def mean(self) -> Tensor:
        """`rate / (concentration - 1)`, infinite for concentrations up to 1."""
        return self.rate / (self.concentration - 1).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """Infinite for concentrations up to 2."""
        a = self.concentration
        return (self.rate / (a - 1)).square() / (a - 2).clamp(min=0)

    @property
    def mode(self) -> Tensor:
        """`rate / (concentration + 1)`."""
        return self.rate / (self.concentration + 1)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        a = self.concentration
        rest = HALF_LOG_TAU + stirling_error(a) + (a + 1) * log_minus_digamma(a)
        return self.rate.log() - 1.5 * a.log() + rest

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the gamma distribution fitted to `1 / data`.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive, or the draws of one batch element are all equal: the likelihood then
                has no maximum.

        Example:
            >>> InverseGamma.fit(torch.tensor([0.5, 1.0, 2.0])).mode
            tensor(0.6624)
        """
        data, weights = fit_data("InverseGamma", data, weights)
        cls(data.new_ones(()), 1.0)._check_values("data", data, constraints.positive)
        refuse_constant("InverseGamma", data, weights)
        fitted = Gamma.fit(1 / data.double(), weights.expand_as(data))
        return cls(fitted.concentration.to(data.dtype), fitted.rate.to(data.dtype))

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _inverse(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the value lies in the support, and where the gamma variable is then."""
        value = self._checked_value(value)
        # Below this the gamma variable would overflow. A NaN is inside, where it stays NaN.
        inside = ~(value <= self.rate / torch.finfo(self.rate.dtype).max)
        return inside, self.rate / torch.where(inside, value, self.rate)


@register_kl(InverseGamma, InverseGamma)
def _kl_inverse_gamma_inverse_gamma(p: InverseGamma, q: InverseGamma) -> Tensor:
    return kl_between_gammas(p.concentration, p.rate, q.concentration, q.rate)
