"""The normal distribution between two bounds, accurate where they lie far out in a tail."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data, maximum_likelihood, standard_start
from posterity.distributions.kl import register_kl
from posterity.distributions.normal import Normal
from posterity.distributions.uniform import extremes
from posterity.kernels import Source, log1mexp, log_diff_ndtr, log_ndtr, ndtri_exp
from posterity.kernels.gauss_legendre import gauss_legendre
from posterity.kernels.samplers import truncated_normal


class TruncatedNormal(Distribution):
    r"""The distribution of a normal variable under the condition that it lies in $[low, high]$.

    Args:
        loc: Mean of the normal variable; the parameters' shapes broadcast.
        scale: Standard deviation of the normal variable, positive.
        low: The lower bound; may be -inf.
        high: The upper bound, above `low`; may be inf.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, section 10.1.

    Example:
        >>> d = TruncatedNormal(0.0, 1.0, low=10.0, high=torch.inf)
        >>> d.mean, d.log_prob(10.0)
        (tensor(10.0981), tensor(2.3123))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.real,
        "high": constraints.real,
    }
    has_rsample = True

    loc: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        # A number is known when a graph is traced.
        self._open = (_is_number(low, -math.inf), _is_number(high, math.inf))
        self._initialise({"loc": loc, "scale": scale, "low": low, "high": high}, validate_args=validate_args)
        self._check_values("high", self.high, constraints.greater_than(self.low))

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """From `low` to `high`; a half line, or the line, where infinite bounds were given as numbers."""
        if self._open == (True, True):
            return constraints.real
        return constraints.greater_than_eq(self.low) if self._open[1] else constraints.interval(self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        z = (value - self.loc) / self.scale
        log_prob = -0.5 * z.square() - self.scale.log() - 0.5 * math.log(2 * math.pi) - self._log_mass()
        return torch.where((value < self.low) | (value > self.high), -torch.inf, log_prob)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support and 1 above it."""
        return self.log_cdf(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        below, above = self._log_tails(value)
        return _from_smaller(below, above)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support and 0 above it."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        below, above = self._log_tails(value)
        return _from_smaller(above, below)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        a, b = self._bounds()
        log_level, log_rest = level.log(), torch.log1p(-level)
        log_below = torch.logaddexp(log_rest + log_ndtr(a), log_level + log_ndtr(b))
        log_above = torch.logaddexp(log_rest + log_ndtr(-a), log_level + log_ndtr(-b))
        tail = ndtri_exp(torch.minimum(log_below, log_above))
        inside = self.loc + self.scale * torch.where(log_below < log_above, tail, -tail)
        inside = torch.minimum(torch.maximum(inside, self.low), self.high)
        return torch.where(level == 0, self.low, torch.where(level == 1, self.high, inside))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as quantiles of noise that resolves both tails, of shape `sample_shape + batch_shape`."""
        z = truncated_normal(*self._bounds(), sample_shape, source=generator)
        return torch.minimum(torch.maximum(self.loc + self.scale * z, self.low), self.high)

    @property
    def mean(self) -> Tensor:
        """Mean, of shape `batch_shape`, with its digits also in a far tail."""
        anchor, _, offset, _ = self._moments()
        return self.loc + self.scale * (anchor + offset)

    @property
    def variance(self) -> Tensor:
        """Variance, of shape `batch_shape`, with its digits also in a far tail."""
        _, _, offset, square = self._moments()
        return self.scale.square() * (square - offset.square())

    @property
    def mode(self) -> Tensor:
        """The value of the interval that is nearest to `loc`."""
        return torch.minimum(torch.maximum(self.loc, self.low), self.high)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        anchor, mass, offset, square = self._moments()
        return self.scale.log() + mass.log() + anchor * offset + 0.5 * square

    @classmethod
    def fit(
        cls,
        data: Tensor,
        weights: Tensor | None = None,
        *,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
    ) -> Self:
        """Maximum likelihood between bounds that are known.

        Where the data are spread more widely than uniform ones the likelihood has no maximum: it grows with the scale,
        and the search ends at a nearly uniform density.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
            low: The lower bound; None: the least draw, where the likelihood is greatest.
            high: The upper bound; None: the greatest draw.

        Raises:
            ValueError: A draw lies outside of the bounds, or all of one batch element are equal.
            ArithmeticError: The search did not converge.

        Example:
            >>> d = TruncatedNormal.fit(torch.tensor([0.1, 0.5, 0.6, 0.8]), low=0.0, high=1.0)
            >>> d.mean
            tensor(0.5000)
        """
        data, weights = fit_data("TruncatedNormal", data, weights)
        least, greatest = extremes("TruncatedNormal", data, weights)
        lower = least if low is None else torch.as_tensor(low, dtype=data.dtype, device=data.device)
        upper = greatest if high is None else torch.as_tensor(high, dtype=data.dtype, device=data.device)
        declared = {name: cls.arg_constraints[name] for name in ("loc", "scale")}
        start = standard_start(declared, data, weights, event_rank=0)
        guess = cls(start["loc"], start["scale"], lower, upper)
        guess._check_values("data", torch.where(weights > 0, data, least), constraints.interval(lower, upper))

        class Between(cls):  # type: ignore[misc, valid-type]  # a class made at run time
            def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
                super().__init__(loc, scale, lower, upper, validate_args)

        Between.__name__ = "TruncatedNormal"
        found = maximum_likelihood(Between, data, weights, start)
        return cls(found.loc, found.scale, lower, upper)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """The bounds in standard deviations from `loc`."""
        return self._standard_bound(self.low), self._standard_bound(self.high)

    def _standard_bound(self, bound: Tensor) -> Tensor:
        finite = torch.where(bound.isinf(), self.loc, bound)
        return torch.where(bound.isinf(), bound, (finite - self.loc) / self.scale)

    def _log_mass(self) -> Tensor:
        return log_diff_ndtr(*self._bounds())

    def _log_tails(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the probabilities below and above; only the smaller one has its digits."""
        value, (a, b) = self._checked_value(value), self._bounds()
        outside = (value <= self.low) | (value >= self.high)
        z = (torch.where(outside, self._inner(), value) - self.loc) / self.scale
        log_mass = log_diff_ndtr(a, b)
        below, above = log_diff_ndtr(a, z) - log_mass, log_diff_ndtr(z, b) - log_mass
        low = value <= self.low
        outside_below, outside_above = torch.where(low, -torch.inf, 0.0), torch.where(low, 0.0, -torch.inf)
        return torch.where(outside, outside_below, below), torch.where(outside, outside_above, above)

    def _inner(self) -> Tensor:
        """A value between the bounds."""
        low, high = self.low, self.high
        one_sided = torch.where(low.isinf(), high - self.scale, low + self.scale)
        unbounded, bounded = low.isinf() & high.isinf(), ~(low.isinf() | high.isinf())
        middle = torch.where(bounded, low, 0).lerp(torch.where(bounded, high, 0), 0.5)
        return torch.where(unbounded, self.loc, torch.where(bounded, middle, one_sided))

    def _moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In standard units: the peak z, the integral of exp((z^2 - x^2) / 2), and the means of x - z and (x - z)^2.

        By Gauss-Legendre quadrature to either side of the peak, up to where the integrand has lost e^-40: in a far tail
        the closed forms lose all their digits.
        """
        a, b = self._bounds()
        peak = torch.minimum(torch.maximum(torch.zeros_like(a), a), b)
        slope = peak.abs()
        reach = 80 / (slope + torch.hypot(slope, torch.full_like(slope, math.sqrt(80))))

        def sums(length: Tensor) -> tuple[Tensor, ...]:
            s = slope.unsqueeze(-1)
            return tuple(
                gauss_legendre(lambda t, k=k: t.pow(k) * (-t * (0.5 * t + s)).exp(), length, _NUM_NODES)  # type: ignore[misc]
                for k in range(3)
            )

        left, right = sums(torch.minimum(peak - a, reach)), sums(torch.minimum(b - peak, reach))
        mass = left[0] + right[0]
        return peak, mass, (right[1] - left[1]) / mass, (right[2] + left[2]) / mass


_NUM_NODES = 40


def _is_number(bound: Tensor | float, number: float) -> bool:
    return not isinstance(bound, Tensor) and bound == number


def _from_smaller(log_p: Tensor, log_rest: Tensor) -> Tensor:
    small = log_p < -math.log(2)
    return torch.where(small, log_p, log1mexp(-torch.where(small, -1.0, log_rest)))


@register_kl(TruncatedNormal, TruncatedNormal)
def _kl_truncated_normal_truncated_normal(p: TruncatedNormal, q: TruncatedNormal) -> Tensor:
    inside = (q.low <= p.low) & (p.high <= q.high)
    return torch.where(inside, _cross_entropy(p, q.loc, q.scale) + q._log_mass() - p.entropy(), torch.inf)


@register_kl(TruncatedNormal, Normal)
def _kl_truncated_normal_normal(p: TruncatedNormal, q: Normal) -> Tensor:
    return _cross_entropy(p, q.loc, q.scale) - p.entropy()


def _cross_entropy(p: TruncatedNormal, loc: Tensor, scale: Tensor) -> Tensor:
    second_moment = ((p.mean - loc) / scale).square() + p.variance / scale.square()
    return 0.5 * second_moment + scale.log() + 0.5 * math.log(2 * math.pi)
