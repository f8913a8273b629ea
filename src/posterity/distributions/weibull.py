"""The Weibull distribution: a power of an exponential variable, for lifetimes whose hazard rises or falls."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.cumulative_hazard import CumulativeHazard
from posterity.distributions.gamma import Gamma
from posterity.distributions.kl import register_kl
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.tail_noise import exponential_noise
from posterity.kernels import Source
from posterity.kernels.lgamma1p import lgamma1p_bend, lgamma1p_over

_EULER = 0.57721566490153286


class Weibull(CumulativeHazard):
    r"""The Weibull distribution, with density $(k / scale)\, z^{k-1} e^{-z^k}$ where $z = x / scale \ge 0$.

    Args:
        scale: Positive; any shape that broadcasts against `concentration`.
        concentration: The power k, positive; 1 is the exponential distribution.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 21.

    Example:
        >>> d = Weibull(2.0, 3.0)
        >>> d.mean, d.log_survival_function(20.0)
        (tensor(1.7860), tensor(-1000.))
    """

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.nonnegative
    has_rsample = True

    scale: Tensor
    concentration: Tensor

    def __init__(self, scale: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"scale": scale, "concentration": concentration}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        outside = (value < 0) | value.isposinf()
        z, k = torch.where(outside, 1, value) / self.scale, self.concentration
        density = torch.special.xlogy(k - 1, z) - z.pow(k) + k.log() - self.scale.log()
        return torch.where(outside, -torch.inf, density)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.scale * (-torch.log1p(-self._checked_level(value))).pow(1 / self.concentration)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `scale * noise^(1 / concentration)` of exponential noise, of shape `sample_shape + batch_shape`."""
        noise = exponential_noise(self, sample_shape, generator)
        draws = self.scale * noise.pow(self.concentration.reciprocal())
        info = torch.finfo(draws.dtype)
        return draws.clamp(info.tiny, info.max)

    @property
    def mean(self) -> Tensor:
        """`scale * Gamma(1 + 1 / concentration)`."""
        power = 1 / self.concentration
        return self.scale * (power * lgamma1p_over(power)).exp()

    @property
    def variance(self) -> Tensor:
        """`scale**2 * (Gamma(1 + 2 / concentration) - Gamma(1 + 1 / concentration)**2)`."""
        power = 1 / self.concentration
        return self.mean.square() * torch.expm1(power.square() * lgamma1p_bend(power))

    @property
    def mode(self) -> Tensor:
        """0 for concentrations up to 1."""
        k = self.concentration
        return self.scale * (1 - 1 / k).clamp(min=0).pow(1 / k)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        k = self.concentration
        return _EULER * (1 - 1 / k) + self.scale.log() - k.log() + 1

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        cls(data.new_ones(()), 1.0)._check_values("data", data, constraints.positive)
        refuse_constant("Weibull", data, weights)
        # Logarithms of draws are Gumbel minima, of standard deviation pi / (k sqrt(6)).
        logs = data.clamp(min=torch.finfo(data.dtype).tiny).log()
        mean = (weights * logs).sum(0)
        spread = (weights * (logs - mean).square()).sum(0).sqrt()
        k = (math.pi / math.sqrt(6)) / torch.where(spread > 0, spread, 1)
        return {"scale": (mean + _EULER / k).exp(), "concentration": k}

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _hazard(self, value: Tensor) -> Tensor:
        return (self._checked_value(value) / self.scale).clamp(min=0).pow(self.concentration)


@register_kl(Weibull, Weibull)
def _kl_weibull_weibull(p: Weibull, q: Weibull) -> Tensor:
    # log(X / p.scale) has the mean -gamma / k. Bauckhage (2013), Computing the KL divergence between two Weibull
    # distributions.
    ratio = q.concentration / p.concentration
    log_scales = p.scale.log() - q.scale.log()
    moment = (torch.lgamma(1 + ratio) + q.concentration * log_scales).exp()
    return moment - 1 + _EULER * (ratio - 1) - ratio.log() - q.concentration * log_scales


@register_kl(Weibull, Gamma)
def _kl_weibull_gamma(p: Weibull, q: Gamma) -> Tensor:
    # Bauckhage (2014), Computing the KL divergence between two generalized gamma distributions.
    mean_log = p.scale.log() - _EULER / p.concentration
    expected = (q.concentration - 1) * mean_log - q.rate * p.mean
    return -p.entropy() - (expected + q.concentration * q.rate.log() - torch.lgamma(q.concentration))


@register_kl(Gamma, Weibull)
def _kl_gamma_weibull(p: Gamma, q: Weibull) -> Tensor:
    k, a = q.concentration, p.concentration
    log_scale = p.rate.log() + q.scale.log()
    mean_log = torch.digamma(a) - log_scale
    moment = (torch.lgamma(a + k) - torch.lgamma(a) - k * log_scale).exp()
    return -p.entropy() - (k.log() - q.scale.log() + (k - 1) * mean_log - moment)
