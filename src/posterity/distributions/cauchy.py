"""The Cauchy distribution: the ratio of two normal variables, with no mean."""

import math

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import located
from posterity.distributions.order_statistics import weighted_quantile
from posterity.distributions.tail_noise import cauchy_noise
from posterity.kernels import Source


class Cauchy(Distribution, torch.distributions.Cauchy):
    r"""The Cauchy distribution, with density $1 / (\pi scale (1 + z^2))$ for $z = (x - loc) / scale$.

    It has no mean, which is NaN, and its second moment is infinite.

    Args:
        loc: Median and mode; any shape that broadcasts against `scale`.
        scale: Half the distance of the quartiles, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 16.

    Example:
        >>> d = Cauchy(0.0, 1.0)
        >>> d.icdf(1e-10), d.cdf(-1e20)
        (tensor(-3.1831e+09), tensor(3.1831e-21))
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        distance = self._checked_value(value, support=True) - self.loc
        return root_stretch(distance, self.scale).log().mul_(-2).sub_(math.log(math.pi))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), with all its digits in the lower tail."""
        return cauchy_tail(-self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value), with all its digits in the upper tail."""
        return cauchy_tail(self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        tail = torch.minimum(level, 1 - level)
        outside = 1 / torch.tan(math.pi * tail.clamp(max=0.25))
        inside = torch.tan(math.pi * (level - 0.5).clamp(-0.25, 0.25))
        z = torch.where(tail < 0.25, torch.where(level < 0.5, -outside, outside), inside)
        return self.loc + self.scale * z

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `loc + scale * noise` that reach far into both tails, of shape `sample_shape + batch_shape`."""
        return located(cauchy_noise(self, sample_shape, generator), self.loc, self.scale)

    @property
    def median(self) -> Tensor:
        """`loc`."""
        return self.loc

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        lower, median, upper = (weighted_quantile(data, weights, level) for level in (0.25, 0.5, 0.75))
        return {"loc": median, "scale": torch.where(upper > lower, 0.5 * (upper - lower), 1)}

    def _landmarks(self) -> Tensor:
        # The tails change over all orders of magnitude.
        steps = torch.linspace(-26, 26, 37, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * torch.sinh(steps).reshape((-1,) + (1,) * self.loc.dim())

    def _standardised(self, value: Tensor) -> Tensor:
        return (self._checked_value(value) - self.loc) / self.scale


def root_stretch(distance: Tensor, scale: Tensor) -> Tensor:
    """The root of `scale + distance^2 / scale`, which itself may overflow."""
    root = scale.sqrt()
    return torch.hypot(distance / root, root)


def cauchy_tail(z: Tensor) -> Tensor:
    """P(Z > z) of the standard distribution."""
    return torch.atan2(torch.ones_like(z), z) / math.pi


@register_kl(Cauchy, Cauchy)
def _kl_cauchy_cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    # Chyzak and Nielsen, A Closed-Form Formula for the Kullback-Leibler Divergence between Cauchy Distributions, 2019:
    # log of ((p.scale + q.scale)^2 + (p.loc - q.loc)^2) / (4 p.scale q.scale).
    shift = p.loc - q.loc
    half_ratio = 0.5 * (p.scale / q.scale).log()
    return torch.log1p(torch.sinh(half_ratio).square() + 0.25 * (shift / p.scale) * (shift / q.scale))
