"""The log-logistic (Fisk) distribution: the exponential of a logistic variable."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.logistic import Logistic
from posterity.distributions.tail_noise import log_levels
from posterity.kernels import Source


class LogLogistic(Distribution):
    r"""The log-logistic distribution, with cdf $1 / (1 + (x / scale)^{-concentration})$ on $x \ge 0$.

    The mean is infinite unless `concentration` is above 1, the variance unless it is above 2.

    Args:
        scale: The median, positive; any shape that broadcasts against `concentration`.
        concentration: The exponent of both tails, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, section 23.11.

    Example:
        >>> d = LogLogistic(scale=2.0, concentration=3.0)
        >>> d.median, d.mean, d.cdf(2.0)
        (tensor(2.), tensor(2.4184), tensor(0.5000))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }
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
        x = torch.where(outside, 1, value)
        power = torch.xlogy(self.concentration - 1, x / self.scale)
        density = self.concentration.log() - self.scale.log() + power + 2 * logsigmoid(-self._log_odds(x))
        return torch.where(outside, -torch.inf, density)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return self._log_odds(self._checked_value(value)).sigmoid()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return logsigmoid(self._log_odds(self._checked_value(value)))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return (-self._log_odds(self._checked_value(value))).sigmoid()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return logsigmoid(-self._log_odds(self._checked_value(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.scale * (torch.logit(self._checked_level(value)) / self.concentration).exp()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as quantiles of noise that resolves both tails, of shape `sample_shape + batch_shape`."""
        below, above = log_levels(self, sample_shape, generator)
        draws = self.scale * ((below - above) / self.concentration).exp()
        return draws.clamp(max=torch.finfo(draws.dtype).max)

    @property
    def mean(self) -> Tensor:
        """Mean, of shape `batch_shape`; infinite where `concentration` is at most 1."""
        finite = self.concentration > 1
        angle = math.pi / torch.where(finite, self.concentration, 2)
        return torch.where(finite, self.scale * angle / angle.sin(), torch.inf)

    @property
    def variance(self) -> Tensor:
        """Variance, of shape `batch_shape`; infinite where `concentration` is at most 2."""
        finite = self.concentration > 2
        angle = math.pi / torch.where(finite, self.concentration, 4)
        variance = self.scale.square() * angle * _tan_excess(angle) / angle.sin().square()
        return torch.where(finite, variance, torch.inf)

    @property
    def mode(self) -> Tensor:
        """Where the density is greatest; 0 where `concentration` is at most 1."""
        above = torch.where(self.concentration > 1, self.concentration, 2)
        peak = self.scale * ((torch.log1p(-1 / above) - torch.log1p(1 / above)) / above).exp()
        return torch.where(self.concentration > 1, peak, 0)

    @property
    def median(self) -> Tensor:
        """`scale`."""
        return self.scale

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() - self.concentration.log() + 2

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the logistic distribution of the logarithms, which is searched for.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive.
            ArithmeticError: The search did not converge: the draws of one batch element may all be equal.

        Example:
            >>> LogLogistic.fit(torch.tensor([1.0, 2.0, 5.0])).median
            tensor(2.1...)
        """
        data, weights = fit_data("LogLogistic", data, weights)
        cls(data.new_ones(()), data.new_ones(()))._check_values("data", data, constraints.positive)
        found = Logistic.fit(data.log(), weights.expand_as(data))
        return cls(found.loc.exp(), found.scale.reciprocal())

    def _landmarks(self) -> Tensor:
        # The density changes over all orders of magnitude.
        steps = torch.linspace(-36, 36, 73, dtype=self.scale.dtype, device=self.scale.device)
        points = self.scale * (steps.reshape((-1,) + (1,) * self.scale.dim()) / self.concentration).exp()
        return points.clamp(max=torch.finfo(points.dtype).max ** 0.5)

    def _log_odds(self, value: Tensor) -> Tensor:
        below = value <= 0
        z = self.concentration * (torch.where(below, 1, value).log() - self.scale.log())
        return torch.where(below, -torch.inf, z)

    def _logarithm(self) -> Logistic:
        return Logistic(self.scale.log(), self.concentration.reciprocal(), validate_args=False)


# Of x^3, x^5, ...: DLMF 4.19.3.
_TAN = (1 / 3, 2 / 15, 17 / 315, 62 / 2835, 1382 / 155925, 21844 / 6081075, 929569 / 638512875, 6404582 / 10854718875)


def _tan_excess(x: Tensor) -> Tensor:
    """tan(x) - x for x between 0 and pi / 2."""
    small = x.clamp(max=0.25)
    series = torch.zeros_like(x)
    for coefficient in reversed(_TAN):
        series = (series + coefficient) * small.square()
    return torch.where(x < 0.25, series * small, x.tan() - x)


@register_kl(LogLogistic, LogLogistic)
def _kl_log_logistic_log_logistic(p: LogLogistic, q: LogLogistic) -> Tensor:
    return kl_divergence(p._logarithm(), q._logarithm())
