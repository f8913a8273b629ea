"""The Moyal distribution: the negated logarithm of the square of a normal variable."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.half_normal import half_normal_tail_quantile, log_half_normal_cdf, log_half_normal_tail
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import located
from posterity.kernels import Source, normal


class Moyal(Distribution):
    r"""The Moyal distribution, of $loc - 2\,scale \log|Z|$ for a standard normal $Z$.

    It approximates Landau's distribution of the energy that a charged particle loses in matter.

    Args:
        loc: The mode; any shape that broadcasts against `scale`.
        scale: Positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Walck, Hand-Book on Statistical Distributions for Experimentalists, 2007, chapter 26.

    Example:
        >>> d = Moyal(0.0, 1.0)
        >>> d.mean, d.log_cdf(-5.0)
        (tensor(1.2704), tensor(-76.9390))
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.real
    has_rsample = True

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z = self._standardised(value, support=True)
        offset = self.scale.log() + 0.5 * math.log(2 * math.pi)
        # One of the two is kept finite, so that they do not cancel to NaN far down.
        return ((-z).exp() + z.clamp(min=torch.finfo(z.dtype).min)).mul_(-0.5).sub_(offset)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return torch.erfc(self._normal_size(value) * math.sqrt(0.5))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return log_half_normal_tail(self._normal_size(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return torch.erf(self._normal_size(value) * math.sqrt(0.5))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        z = self._standardised(value)
        # Above 60 the probability is sqrt(2 / pi) exp(-z / 2) to the rounding of float64.
        far = 0.5 * math.log(2 / math.pi) - 0.5 * z.clamp(min=60)
        return torch.where(z > 60, far, log_half_normal_cdf((-0.5 * z.clamp(max=60)).exp()))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.loc - 2 * self.scale * half_normal_tail_quantile(self._checked_level(value)).log()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `loc - 2 scale log|noise|`, of shape `sample_shape + batch_shape`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        return located(noise.abs_().clamp(min=torch.finfo(noise.dtype).tiny).log_().mul_(-2), self.loc, self.scale)

    @property
    def mean(self) -> Tensor:
        """`loc + scale * (log 2 + Euler's constant)`."""
        return self.loc + self.scale * _MEAN

    @property
    def variance(self) -> Tensor:
        """`(pi * scale)^2 / 2`."""
        return (math.pi * self.scale).square() / 2

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + 0.5 * (_MEAN + 1 + math.log(2 * math.pi))

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        start = super()._fit_start(data, weights)
        scale = start["scale"] * (math.sqrt(2) / math.pi)
        return {"loc": start["loc"] - scale * _MEAN, "scale": scale}

    def _normal_size(self, value: Tensor) -> Tensor:
        return (-0.5 * self._standardised(value)).exp()

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale


_MEAN = math.log(2) + 0.57721566490153286


@register_kl(Moyal, Moyal)
def _kl_moyal_moyal(p: Moyal, q: Moyal) -> Tensor:
    # exp(-(X - p.loc) / p.scale) is chi-squared with one degree of freedom, whose moments are gamma functions.
    ratio, shift = p.scale / q.scale, (p.loc - q.loc) / q.scale
    moment = (ratio * math.log(2) + torch.lgamma(0.5 + ratio) - 0.5 * math.log(math.pi) - shift).exp()
    return -ratio.log() + 0.5 * ((ratio - 1) * _MEAN + shift + moment - 1)
