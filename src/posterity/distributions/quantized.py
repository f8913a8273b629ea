"""A continuous variable rounded up to integers."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.bounded import Bounded, bounded, holds
from posterity.distributions.interval_mass import log_mass_between, log_tails
from posterity.distributions.supports import point_inside, support_ends
from posterity.kernels import Source


class Quantized(Bounded):
    r"""$\lceil X \rceil$, held within `[low, high]`: $P(Y = k) = F(k) - F(k - 1)$.

    The difference is taken between logarithms in the nearer tail, so that it is accurate on both sides. What would lie
    below `low` is counted as `low`, and what would lie above `high` as `high`. For the nearest integer instead, shift
    the base up by one half and count from there.

    Args:
        base_distribution: A continuous scalar distribution, of this library or of torch's.
        low: The least value, a whole number that broadcasts against the batch; None for no bound.
        high: The greatest value, likewise.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is no distribution, or a bound no real number or tensor.
        ValueError: The base is not continuous and scalar, a bound is no whole number, or `low` is above `high`.

    Source: Salimans, Karpathy, Chen and Kingma, PixelCNN++, 2017, equation 2, https://doi.org/10.48550/arXiv.1701.05517

    Example:
        >>> from posterity.distributions import Normal
        >>> d = Quantized(Normal(0.0, 1.0), low=-2, high=3)
        >>> d.prob(torch.tensor([-2.0, 0.0, 3.0]))
        tensor([0.0228, 0.3413, 0.0228])
    """

    has_rsample = False

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.base_dist, self.low, self.high = bounded("Quantized", base_distribution, low, high)
        self._validate_values = validate_args
        if self.base_dist._is_discrete():
            raise ValueError(f"base_distribution of Quantized must be continuous, but is {self.base_dist!r}.")
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None and not holds(self, bound == bound.floor()):
                raise ValueError(f"{name} of Quantized must be a whole number, but is {bound}.")
        if self.low is not None and self.high is not None and not holds(self, self.low <= self.high):
            raise ValueError(f"low of Quantized must not be above high, but low is {low} and high is {high}.")
        Distribution.__init__(self, self.base_dist.batch_shape, validate_args=validate_args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, low={self.low}, high={self.high})"

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The integers that the base's support and the bounds allow."""
        return constraints.integer_interval(*self._ends())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log mass at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True).to(self._like().dtype)
        lower, upper = self._ends()
        first = torch.where(value <= lower, -torch.inf, value - 1)
        mass = log_mass_between(
            log_tails(self.base_dist, first),
            log_tails(self.base_dist, torch.where(value >= upper, torch.inf, value)),
        )
        # Where values are not checked, others have no mass.
        inside = (value >= lower) & (value <= upper) & (value == value.floor())
        return torch.where(inside, mass, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """P(Y <= value): the base's at the greatest integer that is not above `value`."""
        return self._tail(self.base_dist.cdf, value, 0, 1)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(Y <= value)."""
        return self._tail(self.base_dist.log_cdf, value, -torch.inf, 0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(Y > value)."""
        return self._tail(self.base_dist.survival_function, value, 1, 0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(Y > value)."""
        return self._tail(self.base_dist.log_survival_function, value, 0, -torch.inf)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of the base, rounded up."""
        with torch.no_grad():
            return self.base_dist.sample(sample_shape, generator=generator).ceil().clamp(*self._ends())

    def _ends(self) -> tuple[Tensor, Tensor]:
        lower, upper = support_ends(self.base_dist)
        # The base's lower end has no mass: what lies just above it is rounded up.
        lower, upper = lower.floor() + 1, upper.ceil()
        if self.low is not None:
            lower, upper = lower.maximum(self.low), upper.maximum(self.low)
        if self.high is not None:
            lower, upper = lower.minimum(self.high), upper.minimum(self.high)
        return lower, upper

    def _tail(self, tail: Any, value: Tensor, below: float, above: float) -> Tensor:
        value = self._checked_value(value).to(self._like().dtype).floor()
        lower, upper = self._ends()
        too_low, too_high = value < lower, value >= upper
        inner = point_inside(self.base_dist).detach()
        result = tail(torch.where(too_low | too_high, inner, value))
        return torch.where(too_low, below, torch.where(too_high, above, result))
