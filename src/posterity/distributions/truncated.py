"""A scalar distribution on an interval, as accurate where the interval lies in a tail as elsewhere."""

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.bounded import Bounded, bounded, bounded_support, common_ends, holds
from posterity.distributions.interval_mass import complement, log_mass_between, log_tails, quantile_from_logs
from posterity.distributions.quantiles import follow_quantile
from posterity.distributions.supports import point_inside
from posterity.distributions.tail_noise import log_levels
from posterity.kernels import Source


class Truncated(Bounded):
    r"""$X$ given $low \le X \le high$, for any scalar $X$.

    Probabilities are differences of logarithms in the nearer tail of the base; quantiles are searched there too, so
    that draws from a normal distribution beyond forty standard deviations are as good as those from its middle.

    Args:
        base_distribution: A scalar distribution, continuous or over integers, of this library or of torch's.
        low: The least value kept, of a shape that broadcasts against the batch; None for no such bound.
        high: The greatest value kept, likewise.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is no distribution, or a bound no real number or tensor.
        ValueError: Events are not scalar, shapes do not broadcast, or there is no value between the bounds.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, section 10.1.

    Example:
        >>> from posterity.distributions import Exponential
        >>> d = Truncated(Exponential(1.0), low=2.0)
        >>> d.mean, d.icdf(0.5)
        (tensor(3.0000), tensor(2.6931))
    """

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.base_dist, self.low, self.high = bounded("Truncated", base_distribution, low, high)
        self._validate_values = validate_args
        lower, upper = self._ends()
        kept = lower <= upper if self._is_discrete_base() else lower < upper
        if not holds(self, kept):
            raise ValueError(
                f"low and high of Truncated leave no value of {type(self.base_dist).__name__} between them: low is "
                f"{low} and high is {high}, and its support is {self.base_dist.support!r}."
            )
        Distribution.__init__(self, self.base_dist.batch_shape, validate_args=validate_args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, low={_shown(self.low)}, high={_shown(self.high)})"

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """What the base's support and the interval have in common."""
        return bounded_support(self.base_dist, self.low, self.high, *self._ends())

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws are a smooth function of the parameters: those of a continuous base are."""
        return not self._is_discrete_base()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, or mass, at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        lower, upper = self._ends()
        # Where values are not checked, none outside has a density.
        inside = (value >= lower) & (value <= upper) | value.isnan()
        inner = torch.where(inside, value, self._inner().to(value.dtype))
        return torch.where(inside, self.base_dist.log_prob(inner) - self._log_mass(), -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the interval and 1 above it."""
        return self.log_cdf(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return complement(*self._log_parts(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the interval and 0 above it."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return complement(*reversed(self._log_parts(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The least value below which lies the probability `value`, searched for in the base's nearer tail."""
        if self._is_discrete_base():
            return super().icdf(value)
        level = self._checked_level(value)
        lower, upper = (end.expand(torch.broadcast_shapes(level.shape, end.shape)) for end in self._ends())
        with torch.no_grad():
            found = self._between(level.log(), torch.log1p(-level))
            found = torch.where(level == 0, lower, torch.where(level == 1, upper, found))
        return follow_quantile(self, found, level)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape`, quantiles of uniform noise."""
        with torch.no_grad():
            if self._is_discrete_base():
                return self.icdf(self._open_uniform(sample_shape, generator))
            return self._between(*log_levels(self, sample_shape, generator))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters and the bounds, where the base is continuous."""
        if self._is_discrete_base():
            return super().rsample(sample_shape, generator=generator)
        return follow_quantile(self, self.sample(sample_shape, generator=generator))

    def _landmarks(self) -> Tensor:
        # Those of the mass that is left, and the ends, between which a density may be steepest.
        inner = super()._landmarks()
        ends = torch.stack([end.where(end.isfinite(), inner[0]) for end in self._ends()])
        return torch.cat([inner, ends])

    def _is_discrete_base(self) -> bool:
        return self.base_dist._is_discrete()

    def _ends(self) -> tuple[Tensor, Tensor]:
        return common_ends(self.base_dist, self.low, self.high)

    def _inner(self) -> Tensor:
        return point_inside(self).detach()

    def _outer_tails(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The base's log tails just below the interval and at its end."""
        lower, upper = self._ends()
        if self._is_discrete_base():
            lower = lower - 1
        return log_tails(self.base_dist, lower), log_tails(self.base_dist, upper)

    def _log_mass(self) -> Tensor:
        return log_mass_between(*self._outer_tails())

    def _log_parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        value = self._checked_value(value).to(self._like().dtype)
        value = value.floor() if self._is_discrete_base() else value
        lower, upper = self._ends()
        nothing, everything = value < lower, value >= upper
        first, last = self._outer_tails()
        middle = log_tails(self.base_dist, torch.where(nothing | everything, self._inner(), value))
        total = log_mass_between(first, last)
        below, above = log_mass_between(first, middle) - total, log_mass_between(middle, last) - total
        below = torch.where(nothing, -torch.inf, torch.where(everything, 0, below.clamp(max=0)))
        return below, torch.where(nothing, 0, torch.where(everything, -torch.inf, above.clamp(max=0)))

    def _between(self, below: Tensor, above: Tensor) -> Tensor:
        """The quantile from the logs of the probabilities on its two sides."""
        (low_below, low_above), (high_below, high_above) = self._outer_tails()
        total = log_mass_between((low_below, low_above), (high_below, high_above))
        under = torch.logaddexp(low_below.expand_as(below + total), below + total)
        over = torch.logaddexp(high_above.expand_as(above + total), above + total)
        lower, upper = self._ends()
        return quantile_from_logs(self.base_dist, under, over).clamp(lower, upper)


def _shown(bound: Tensor | None) -> str:
    if bound is None:
        return "None"
    return str(bound.item()) if bound.numel() == 1 and not bound.is_meta else f"tensor of {tuple(bound.shape)}"
