"""A variable that is seen only within an interval: what lies beyond is recorded as the nearer end."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.bounded import Bounded, bounded, bounded_support, common_ends, holds
from posterity.distributions.expectation import expectation
from posterity.distributions.interval_mass import log_tails
from posterity.distributions.kl import register_kl
from posterity.distributions.supports import point_inside
from posterity.kernels import Source


class Censored(Bounded):
    r"""$\min(\max(X, low), high)$, for any scalar $X$: a detector that saturates, a trial that ends.

    Between the ends `log_prob` is the base's; at the ends it is the log of the mass that is recorded there,
    P(X <= low) and P(X >= high), so that the sum over data is the likelihood of censored observations. With a
    continuous base the distribution is neither discrete nor continuous: its density is with respect to the line plus
    a point at either end.

    Args:
        base_distribution: A scalar distribution, continuous or over integers, of this library or of torch's.
        low: The lower end, of a shape that broadcasts against the batch; None: nothing is censored there.
        high: The upper end, likewise.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is no distribution, or an end no real number or tensor.
        ValueError: Events are not scalar, shapes do not broadcast, ends are not whole numbers although the base is
            discrete, or `low` is not less than `high`.

    Source: Tobin, Estimation of Relationships for Limited Dependent Variables, 1958, https://doi.org/10.2307/1907382

    Example:
        >>> from posterity.distributions import Exponential
        >>> d = Censored(Exponential(1.0), high=2.0)
        >>> d.prob(torch.tensor([1.0, 2.0])), d.mean
        (tensor([0.3679, 0.1353]), tensor(0.8647))
    """

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.base_dist, self.low, self.high = bounded("Censored", base_distribution, low, high)
        self._validate_values = validate_args
        if self.low is not None and self.high is not None and not holds(self, self.low < self.high):
            raise ValueError(f"low of Censored must be less than high, but low is {low} and high is {high}.")
        if self.base_dist._is_discrete():
            for name, end in (("low", self.low), ("high", self.high)):
                if end is not None and not holds(self, end == end.floor()):
                    raise ValueError(f"{name} of Censored must be a whole number for a discrete base, but is {end}.")
        Distribution.__init__(self, self.base_dist.batch_shape, validate_args=validate_args)

    def __repr__(self) -> str:
        return f"Censored({self.base_dist!r}, low={self.low}, high={self.high})"

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """What the base's support and the interval have in common, the ends included."""
        # An end beyond the base's support has no mass, but is no error either.
        return bounded_support(self.base_dist, self.low, self.high, *common_ends(self.base_dist, self.low, self.high))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density between the ends and log mass at them, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        at_low = torch.zeros_like(value, dtype=torch.bool) if self.low is None else value <= self.low
        at_high = torch.zeros_like(value, dtype=torch.bool) if self.high is None else value >= self.high
        inner = torch.where(at_low | at_high, point_inside(self.base_dist).detach().to(value.dtype), value)
        result = self.base_dist.log_prob(inner)
        if self.low is not None:
            result = torch.where(at_low, log_tails(self.base_dist, self.low)[0], result)
        if self.high is not None:
            last = self.high - 1 if self.base_dist._is_discrete() else self.high
            result = torch.where(at_high, log_tails(self.base_dist, last)[1], result)
        return result

    def cdf(self, value: Tensor) -> Tensor:
        """P(Y <= value): the base's between the ends, 0 below them and 1 above."""
        return self._tail(self.base_dist.cdf, value, 0, 1)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(Y <= value)."""
        return self._tail(self.base_dist.log_cdf, value, -torch.inf, 0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(Y > value): the base's between the ends, 1 below them and 0 above."""
        return self._tail(self.base_dist.survival_function, value, 1, 0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(Y > value)."""
        return self._tail(self.base_dist.log_survival_function, value, 0, -torch.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """The base's quantile, drawn to the nearer end where it lies beyond."""
        return self._clip(self.base_dist.icdf(value))

    @property
    def mean(self) -> Tensor:
        """Mean: an integral, or sum, over the base with its line cut at the ends."""
        return self._expectation(lambda y: y)

    @property
    def variance(self) -> Tensor:
        """Variance: an integral, or sum, over the base."""
        mean = self.mean
        return self._expectation(lambda y: (y - mean).square())

    @property
    def mode(self) -> Tensor:
        """The most probable value, of a discrete base only."""
        if self.base_dist._is_discrete():
            return super().mode
        raise NotImplementedError(
            "Censored.mode is undefined for a continuous base: the masses at the ends cannot be compared with the "
            "density between them."
        )

    def entropy(self) -> Tensor:
        """-E[log_prob(Y)] in nats: entropy with respect to the line plus a point at either end."""
        return self._expectation(lambda y: -self.log_prob(y))

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of the base, drawn to the nearer end where they lie beyond."""
        with torch.no_grad():
            return self._clip(self.base_dist.sample(sample_shape, generator=generator))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws with gradients: those of the base between the ends, and of the ends at them."""
        return self._clip(self.base_dist.rsample(sample_shape, generator=generator))

    def _landmarks(self) -> Tensor:
        points = self.base_dist._landmarks()
        ends = [end.expand(1, *self.batch_shape) for end in (self.low, self.high) if end is not None]
        return torch.cat([points, *ends])

    def _expectation(self, function: Any) -> Tensor:
        # Of the base, with `self` to cut the line at the ends, where the integrand has kinks.
        return expectation(self.base_dist, lambda x: function(self._clip(x)), others=(self,))

    def _clip(self, x: Tensor) -> Tensor:
        x = x if self.low is None else torch.where(x <= self.low, self.low, x)
        return x if self.high is None else torch.where(x >= self.high, self.high, x)

    def _tail(self, tail: Any, value: Tensor, below: float, above: float) -> Tensor:
        value = self._checked_value(value)
        inner = point_inside(self.base_dist).detach().to(value.dtype)
        too_low = torch.zeros_like(value, dtype=torch.bool) if self.low is None else value < self.low
        too_high = torch.zeros_like(value, dtype=torch.bool) if self.high is None else value >= self.high
        result = tail(torch.where(too_low | too_high, inner, value))
        return torch.where(too_low, below, torch.where(too_high, above, result))


@register_kl(Censored, Censored)
def _kl_censored_censored(p: Censored, q: Censored) -> Tensor:
    if p.base_dist._is_discrete():
        raise NotImplementedError("summed over the values")
    same = torch.ones(torch.broadcast_shapes(p.batch_shape, q.batch_shape), dtype=torch.bool, device=p._like().device)
    for mine, theirs in ((p.low, q.low), (p.high, q.high)):
        if (mine is None) != (theirs is None):
            return torch.where(same, torch.inf, 0).to(p._like().dtype)
        if mine is not None and theirs is not None:
            same = same & (mine == theirs)

    def log_ratio(x: Tensor) -> Tensor:
        y = p._clip(x)
        return torch.where(same, p.log_prob(y) - q.log_prob(q._clip(y)), 0)

    return torch.where(same, expectation(p.base_dist, log_ratio, others=(p, q)), torch.inf)


@register_kl(Censored, torch.distributions.Distribution)
def _kl_censored_distribution(p: Censored, q: torch.distributions.Distribution) -> Tensor:
    if p.base_dist._is_discrete():
        raise NotImplementedError("summed over the values")
    # A continuous q has no mass at the ends.
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    return p._like().new_full(shape, torch.inf)
