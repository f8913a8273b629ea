"""The exponentially modified Gaussian: the sum of a normal and an exponential variable."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.quantiles import log_concave_quantile
from posterity.kernels import Source, log_ndtr, mills_ratio, ndtr
from posterity.kernels.elementwise import elementwise
from posterity.kernels.gauss_legendre import gauss_legendre
from posterity.kernels.samplers.noise import noise, settle


class ExponentiallyModifiedGaussian(Distribution):
    r"""The distribution of $loc + scale Z + E / rate$ for a standard normal $Z$ and a standard exponential $E$.

    Args:
        loc: Mean of the normal variable; the parameters' shapes broadcast.
        scale: Standard deviation of the normal variable, positive.
        rate: Inverse mean of the exponential variable, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Grushka, Characterization of Exponentially Modified Gaussian Peaks in Chromatography, 1972,
    https://doi.org/10.1021/ac60319a011

    Example:
        >>> d = ExponentiallyModifiedGaussian(loc=0.0, scale=1.0, rate=0.5)
        >>> d.mean, d.variance
        (tensor(2.), tensor(5.))
        >>> d.log_cdf(-20.0), d.log_survival_function(200.0)
        (tensor(-207.6355), tensor(-99.8750))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real,
        "scale": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    loc: Tensor
    scale: Tensor
    rate: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        rate: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise({"loc": loc, "scale": scale, "rate": rate}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z, rate = self._standardised(value, support=True)
        # From the distance itself: through z the gradients of a far value would cancel.
        return self.rate.log() + _log_tilted_tail(z, rate, self.rate * (value - self.loc))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return _log_cdf(*self._standardised(value)).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return _log_cdf(*self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        z, rate = self._standardised(value)
        return ndtr(-z) + _log_tilted_tail(z, rate).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        z, rate = self._standardised(value)
        log_cdf = _log_cdf(z, rate)
        near_one = torch.log1p(-log_cdf.clamp(max=-math.log(2)).exp())
        tail = torch.logaddexp(log_ndtr(-z), _log_tilted_tail(z, rate))
        return torch.where(log_cdf < -math.log(2), near_one, tail)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return log_concave_quantile(self, self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as sums of normal and exponential noise, of shape `sample_shape + batch_shape`."""
        like = self.loc.detach().to(torch.promote_types(self.loc.dtype, torch.float32))
        numbers = noise(settle(generator, self.loc), self._extended_shape(sample_shape), like)
        first, second = numbers.normal().to(self.loc.dtype), numbers.exponential().to(self.loc.dtype)
        return self.loc + self.scale * first + second / self.rate

    @property
    def mean(self) -> Tensor:
        """`loc + 1 / rate`."""
        return self.loc + 1 / self.rate

    @property
    def variance(self) -> Tensor:
        """`scale^2 + 1 / rate^2`."""
        return self.scale.square() + self.rate.square().reciprocal()

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        start = super()._fit_start(data, weights)
        third = (weights * ((data - start["loc"]) / start["scale"]).pow(3)).sum(0)
        # The moments' equations, within reach of the family.
        share = (0.5 * third).clamp(0.05, 0.95).pow(1 / 3)
        tail = start["scale"] * share
        return {
            "loc": start["loc"] - tail,
            "scale": start["scale"] * (1 - share.square()).sqrt(),
            "rate": tail.reciprocal(),
        }

    def _landmarks(self) -> Tensor:
        # The normal variable's, and further ones in the exponential tail.
        column = (-1,) + (1,) * self.loc.dim()
        z = torch.linspace(-7.5, 7.5, 16, dtype=self.loc.dtype, device=self.loc.device).reshape(column)
        steps = torch.linspace(0.5, 6.0, 12, dtype=self.loc.dtype, device=self.loc.device).square().reshape(column)
        return self.loc + torch.cat([self.scale * z, self.scale + steps / self.rate])

    def _standardised(self, value: Tensor, *, support: bool = False) -> tuple[Tensor, Tensor]:
        """The value and the rate, in standard deviations of the normal variable."""
        return (self._checked_value(value, support=support) - self.loc) / self.scale, self.rate * self.scale


_LOG_ROOT_TAU = 0.5 * math.log(2 * math.pi)
_NUM_NODES = 16


def _log_tilted_tail(z: Tensor, rate: Tensor, decline: Tensor | None = None) -> Tensor:
    r"""Log of $e^{rate^2 / 2 - rate z} \Phi(z - rate)$: the density over the rate; `decline` is rate z where known."""
    # The same as the normal density times a Mills ratio, which keeps its digits on the left.
    left = z < rate
    near = -0.5 * z.square() - _LOG_ROOT_TAU + mills_ratio(torch.where(left, rate - z, 0)).log()
    decline = rate * torch.where(left, 0, z) if decline is None else torch.where(left, 0, decline)
    far = 0.5 * rate.square() - decline + log_ndtr(torch.where(left, 0, z - rate))
    return torch.where(left, near, far)


def _slope_in_z(z: Tensor, rate: Tensor, value: Tensor) -> Tensor:
    return (rate.log() + _log_tilted_tail(z, rate) - value).exp()


def _slope_in_rate(z: Tensor, rate: Tensor, value: Tensor) -> Tensor:
    # The normal density plus (z - rate) times the tilted tail.
    distance = (rate - z).clamp(min=0)
    left = (-0.5 * z.square() - _LOG_ROOT_TAU - value).exp() * (1 - distance * mills_ratio(distance))
    return left + (z - rate).clamp(min=0) * (_log_tilted_tail(z, rate) - value).exp()


@elementwise(_slope_in_z, _slope_in_rate)
def _log_cdf(z: Tensor, rate: Tensor) -> Tensor:
    """Log of the normal cdf minus the tilted tail, for unit scale."""
    tilted = _log_tilted_tail(z, rate).exp()
    # The difference, as an integral over the rate where it is small: the terms then have one sign. To the left of the
    # mean in units of the normal density.
    slow = rate < 1
    length = torch.where(slow, rate, 1)
    left = z < 0
    height = torch.where(left, -z, 0)
    scaled = gauss_legendre(lambda u: _mills_decline(height.unsqueeze(-1) + u), length, _NUM_NODES)
    direct = mills_ratio(height) - mills_ratio(height + rate)
    lower = -0.5 * z.square() - _LOG_ROOT_TAU + torch.where(slow, scaled, direct).log()
    x = torch.where(left, 0, z)
    integral = gauss_legendre(lambda u: _tilted_slope(x.unsqueeze(-1), u), length, _NUM_NODES)
    middle = torch.where(slow, integral, ndtr(x) - tilted).log()
    above = ndtr(-z) + tilted
    upper = torch.log1p(-above.clamp(max=0.5))
    return torch.where(left, lower, torch.where(above < 0.5, upper, middle))


def _mills_decline(x: Tensor) -> Tensor:
    """Minus the derivative of the Mills ratio, 1 - x mills_ratio(x), for x of at least 0."""
    # Laplace's continued fraction (DLMF 7.9.3), in which nothing cancels.
    t = x.clamp(min=4)
    tail = t
    for k in range(40, 1, -1):
        tail = t + k / tail
    small = x.clamp(max=4)
    return torch.where(x < 4, 1 - small * mills_ratio(small), 1 / (1 + t * tail))


def _tilted_slope(z: Tensor, rate: Tensor) -> Tensor:
    """Minus the derivative of the tilted tail in the rate, for z of at least 0."""
    return (-0.5 * z.square() - _LOG_ROOT_TAU).exp() + (z - rate) * _log_tilted_tail(z, rate).exp()
