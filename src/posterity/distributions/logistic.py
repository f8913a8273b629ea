"""The logistic distribution, whose cdf is the sigmoid."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.location_scale import located
from posterity.distributions.tail_noise import log_levels
from posterity.kernels import Source


class Logistic(Distribution):
    r"""The logistic distribution, with cdf $1 / (1 + e^{-(x - loc) / scale})$.

    Args:
        loc: Mean, median and mode; any shape that broadcasts against `scale`.
        scale: Positive; the standard deviation is `scale * pi / sqrt(3)`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 23.

    Example:
        >>> d = Logistic(0.0, 1.0)
        >>> d.cdf(1.0), d.log_survival_function(200.0)
        (tensor(0.7311), tensor(-200.))
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
        lower = logsigmoid(z)
        # One of the two is kept finite, so that they do not cancel to NaN far down.
        return (lower - z.clamp(min=torch.finfo(z.dtype).min)).add_(lower).sub_(self.scale.log())

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self._standardised(value).sigmoid()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return logsigmoid(self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return (-self._standardised(value)).sigmoid()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return logsigmoid(-self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.loc + self.scale * torch.logit(self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as quantiles of noise that resolves both tails, of shape `sample_shape + batch_shape`."""
        below, above = log_levels(self, sample_shape, generator)
        return located(below.sub_(above), self.loc, self.scale)

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """`(pi * scale)^2 / 3`."""
        return (math.pi * self.scale).square() / 3

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def median(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + 2

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        start = super()._fit_start(data, weights)
        return {"loc": start["loc"], "scale": start["scale"] * (math.sqrt(3) / math.pi)}

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale
