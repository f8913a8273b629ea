"""The Gumbel distribution of maxima, accurate in both tails."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import located
from posterity.kernels import Source


class Gumbel(Distribution):
    r"""The Gumbel distribution, with density $e^{-z - e^{-z}} / scale$ where $z = (x - loc) / scale$.

    Args:
        loc: Mode; any shape that broadcasts against `scale`.
        scale: Positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 22.

    Example:
        >>> d = Gumbel(0.0, 1.0)
        >>> d.mean, d.log_cdf(-3.0)
        (tensor(0.5772), tensor(-20.0855))
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
        # Of the standardised value's negative.
        y = (self.loc - self._checked_value(value, support=True)) / self.scale
        # One of the two is kept finite, so that they do not cancel to NaN far down, where the other is infinite.
        return y.clamp_max(1e3).sub_(y.exp()).sub_(self.scale.log())

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return (-self._growth(value)).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return -(-self._standardised(value)).exp()

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return -torch.expm1(-self._growth(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        z = self._standardised(value)
        log_cdf = -self._growth(value)
        # Each branch sees only its own part: near 0 log(1 - cdf) is kept by log1p, above 20 the survival function
        # is exp(-z) to the rounding of float64.
        low = torch.log1p(-log_cdf.clamp(max=-_LOG_2).exp())
        middle = (-torch.expm1(-(-z.clamp(-1, 20)).exp())).log()
        high = -z - 0.5 * (-z.clamp(min=20)).exp()
        return torch.where(log_cdf < -_LOG_2, low, torch.where(z > 20, high, middle))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.loc - self.scale * (-self._checked_level(value).log()).log()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws by the inverse cdf of uniform noise, of shape `sample_shape + batch_shape`."""
        # Of 1 - u: the noise is finest near 0, and the right tail is the long one.
        u = self._open_uniform(sample_shape, generator)
        return located(u.neg_().log1p_().neg_().log_().neg_(), self.loc, self.scale)

    @property
    def mean(self) -> Tensor:
        """`loc + Euler's constant * scale`."""
        return self.loc + self.scale * _EULER

    @property
    def variance(self) -> Tensor:
        """`(pi * scale)^2 / 6`."""
        return (math.pi * self.scale).square() / 6

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + _EULER + 1

    def _growth(self, value: Tensor) -> Tensor:
        """-log cdf, kept finite so that the cdf of 0 has a slope of 0."""
        least = -0.9 * math.log(torch.finfo(self.loc.dtype).max)
        return (-self._standardised(value).clamp(min=least)).exp()

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale


_EULER = 0.57721566490153286
_LOG_2 = math.log(2)


@register_kl(Gumbel, Gumbel)
def _kl_gumbel_gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    # E[exp(-(X - q.loc) / q.scale)] is the moment generating function of a Gumbel variable.
    ratio = p.scale / q.scale
    shift = (p.loc - q.loc) / q.scale
    return ratio.log().neg() + (ratio - 1) * _EULER + shift - 1 + (torch.lgamma(1 + ratio) - shift).exp()
