"""The uniform distribution over an interval."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.cauchy import Cauchy
from posterity.distributions.exponential import Exponential
from posterity.distributions.fitting import fit_data
from posterity.distributions.gumbel import Gumbel
from posterity.distributions.kl import register_kl
from posterity.distributions.laplace import Laplace
from posterity.distributions.normal import Normal
from posterity.kernels import Source


class Uniform(Distribution, torch.distributions.Uniform):
    r"""The uniform distribution, with density $1 / (high - low)$ on $[low, high]$.

    Every value of the interval is a mode; `mode` is the one in the middle.

    Args:
        low: The lower end; any shape that broadcasts against `high`.
        high: The upper end, above `low`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or `high` is not above `low`.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 26.

    Example:
        >>> d = Uniform(-1.0, 3.0)
        >>> d.mean, d.cdf(0.0)
        (tensor(1.), tensor(0.2500))
    """

    arg_constraints = {"low": constraints.real, "high": constraints.real}  # noqa: RUF012  # declared by torch's base

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"low": low, "high": high}, validate_args=validate_args)
        self._check_values("high", self.high, constraints.greater_than(self.low))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        # The value adds nothing but its shape, and NaN where it is NaN.
        return self._inside_only(value, 0 * value - (self.high - self.low).log())

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support and 1 above it."""
        return ((self._checked_value(value) - self.low) / (self.high - self.low)).clamp(0, 1)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support and 0 above it."""
        return ((self.high - self._checked_value(value)) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.low.lerp(self.high, self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws between `low` and `high`, of shape `sample_shape + batch_shape`."""
        return self.low.lerp(self.high, self._open_uniform(sample_shape, generator))

    @property
    def mode(self) -> Tensor:
        """The middle of the interval: the density is the same all over it."""
        return self.low.lerp(self.high, 0.5)

    @property
    def median(self) -> Tensor:
        """The middle of the interval."""
        return self.low.lerp(self.high, 0.5)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the least and the greatest draw of positive weight.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal: the likelihood then has no maximum.

        Example:
            >>> d = Uniform.fit(torch.tensor([1.0, 3.0, 2.0]))
            >>> d.low, d.high
            (tensor(1.), tensor(3.))
        """
        data, weights = fit_data("Uniform", data, weights)
        low, high = extremes("Uniform", data, weights)
        return cls(low, high)


def extremes(owner: str, data: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest draw of positive weight.

    Raises:
        ValueError: They are the same.
    """
    low = torch.where(weights > 0, data, torch.inf).amin(0)
    high = torch.where(weights > 0, data, -torch.inf).amax(0)
    if not torch._is_all_true(low < high):
        raise ValueError(
            f"data of {owner}.fit must hold two different draws for each batch element: the likelihood of equal ones "
            "has no maximum."
        )
    return low, high


@register_kl(Uniform, Uniform)
def _kl_uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    inside = (q.low <= p.low) & (p.high <= q.high)
    return torch.where(inside, ((q.high - q.low) / (p.high - p.low)).log(), torch.inf)


@register_kl(Uniform, Normal)
def _kl_uniform_normal(p: Uniform, q: Normal) -> Tensor:
    second_moment = ((p.mean - q.loc) / q.scale).square() + p.variance / q.scale.square()
    return 0.5 * second_moment + q.scale.log() + 0.5 * math.log(2 * math.pi) - p.entropy()


@register_kl(Uniform, Laplace)
def _kl_uniform_laplace(p: Uniform, q: Laplace) -> Tensor:
    lower, upper = (p.low - q.loc) / q.scale, (p.high - q.loc) / q.scale
    # The mean of |z| over an interval: z |z| / 2 between its ends, without the cancellation where 0 lies outside.
    apart = lower * upper > 0
    across = 0.5 * (lower.square() + upper.square()) / (upper - lower)
    distance = torch.where(apart, 0.5 * (lower + upper).abs(), across)
    return distance + (2 * q.scale).log() - p.entropy()


@register_kl(Uniform, Exponential)
def _kl_uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    return torch.where(p.low >= 0, q.rate * p.mean - q.rate.log() - p.entropy(), torch.inf)


@register_kl(Uniform, Gumbel)
def _kl_uniform_gumbel(p: Uniform, q: Gumbel) -> Tensor:
    lower, width = (p.low - q.loc) / q.scale, (p.high - p.low) / q.scale
    mean_of_exp = (-lower).exp() * (-torch.expm1(-width) / width)
    return lower + 0.5 * width + mean_of_exp - width.log()


@register_kl(Cauchy, Uniform)
@register_kl(Exponential, Uniform)
@register_kl(Gumbel, Uniform)
@register_kl(Laplace, Uniform)
@register_kl(Normal, Uniform)
def _kl_unbounded_uniform(p: Distribution, q: Uniform) -> Tensor:
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    return torch.full_like(q.low, torch.inf).expand(shape)
