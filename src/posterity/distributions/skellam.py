"""The Skellam distribution: the difference of two Poisson counts."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.integers import integer
from posterity.distributions.quantiles import integer_quantile
from posterity.kernels import Source
from posterity.kernels.samplers import poisson
from posterity.kernels.samplers.noise import part, settle
from posterity.kernels.skellam import log_skellam_cdf, log_skellam_mass, log_skellam_survival


class Skellam(Distribution):
    """The difference of two independent Poisson counts.

    Args:
        rate1: Rate of the first count, positive.
        rate2: Rate of the count that is subtracted, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a rate is not positive.

    Source: Skellam, The Frequency Distribution of the Difference Between Two Poisson Variates, 1946.

    Example:
        >>> d = Skellam(3.0, 1.0)
        >>> d.mean, d.variance, d.log_prob(torch.tensor(-2.0))
        (tensor(2.), tensor(4.), tensor(-3.7929))
    """

    arg_constraints = {"rate1": constraints.positive, "rate2": constraints.positive}  # noqa: RUF012  # torch's base
    support = integer

    rate1: Tensor
    rate2: Tensor

    def __init__(self, rate1: Tensor | float, rate2: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"rate1": rate1, "rate2": rate2}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the difference `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return self._inside_only(value, log_skellam_mass(value, self.rate1, self.rate2))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self.log_cdf(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return self._tail(log_skellam_cdf, value, -torch.inf, 0.0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return self._tail(log_skellam_survival, value, 0.0, -torch.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """The least integer whose cdf reaches the probability `value` in [0, 1]."""
        return integer_quantile(self, self._checked_level(value))

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Differences of shape `sample_shape + batch_shape`."""
        source = settle(generator, self.rate1)
        first = poisson(self.rate1, sample_shape, source=part(source, 0))
        return first - poisson(self.rate2, sample_shape, source=part(source, 1))

    @property
    def mean(self) -> Tensor:
        """`rate1 - rate2`."""
        return self.rate1 - self.rate2

    @property
    def variance(self) -> Tensor:
        """`rate1 + rate2`."""
        return self.rate1 + self.rate2

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        mean = (weights * data).sum(0)
        variance = (weights * (data - mean).square()).sum(0)
        least = 0.05 * (1 + mean.abs())
        return {"rate1": (0.5 * (variance + mean)).maximum(least), "rate2": (0.5 * (variance - mean)).maximum(least)}

    def _tail(self, function: Callable[..., Tensor], value: Tensor, below: float, above: float) -> Tensor:
        k = self._checked_value(value).floor()
        ends = torch.where(k < 0, below, above)
        return torch.where(k.isinf(), ends, function(torch.where(k.isinf(), 0, k), self.rate1, self.rate2))
