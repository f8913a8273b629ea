"""The triangular distribution: a density that rises to a peak and falls, in straight lines."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data, maximum_likelihood
from posterity.distributions.uniform import extremes


class Triangular(Distribution):
    r"""The triangular distribution on $[low, high]$, with its greatest density, $2 / (high - low)$, at $peak$.

    Args:
        low: The lower end; the parameters' shapes broadcast.
        high: The upper end, above `low`.
        peak: From `low` to `high`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, `high` is not above `low`, or `peak` not between them.

    Source: Kotz and van Dorp, Beyond Beta, 2004, chapter 1, https://doi.org/10.1142/5720

    Example:
        >>> d = Triangular(low=0.0, high=4.0, peak=1.0)
        >>> d.mean, d.cdf(1.0)
        (tensor(1.6667), tensor(0.2500))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "low": constraints.real,
        "high": constraints.real,
        "peak": constraints.real,
    }
    has_rsample = True

    low: Tensor
    high: Tensor
    peak: Tensor

    def __init__(
        self,
        low: Tensor | float,
        high: Tensor | float,
        peak: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise({"low": low, "high": high, "peak": peak}, validate_args=validate_args)
        self._check_values("high", self.high, constraints.greater_than(self.low))
        self._check_values("peak", self.peak, constraints.interval(self.low, self.high))

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """From `low` to `high`."""
        return constraints.interval(self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; minus infinity at an end without the peak."""
        value = self._checked_value(value, support=True)
        left, width = value < self.peak, self.high - self.low
        climbed = torch.where(left, value - self.low, self.high - value)
        side = torch.where(left, self.peak - self.low, self.high - self.peak)
        # At a peak that is an end, both are 0; beyond the support, the density is.
        share = torch.where(value == self.peak, 1, climbed / torch.where(side > 0, side, 1))
        log_share = _log(share)
        return math.log(2) - width.log() + log_share

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support and 1 above it."""
        distance, _, rise, fall = self._distances(value)
        return _cdf(distance, rise, fall)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return _log_cdf(*self._distances(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support and 0 above it."""
        _, distance, rise, fall = self._distances(value)
        return _cdf(distance, fall, rise)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        below, above, rise, fall = self._distances(value)
        return _log_cdf(above, below, fall, rise)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level, rise, fall = self._checked_level(value), self.peak - self.low, self.high - self.peak
        left = level * (rise + fall) < rise
        side = torch.where(left, rise, fall)
        tail = torch.where(left, level, 1 - level) * (rise + fall)
        # The square of the share of the side that lies between the end and the value.
        share = torch.where(tail > 0, tail / torch.where(side > 0, side, 1), 1).clamp(max=1).sqrt()
        from_end = torch.where(tail > 0, side * share, 0)
        from_peak = (level * (rise + fall) - rise).abs() / (1 + share)
        near_end = share < 0.5
        below = torch.where(near_end | (tail == 0), self.low + from_end, self.peak - from_peak)
        above = torch.where(near_end | (tail == 0), self.high - from_end, self.peak + from_peak)
        return torch.where(left, below, above)

    @property
    def mean(self) -> Tensor:
        """The mean of the three parameters."""
        return self.low + ((self.high - self.low) + (self.peak - self.low)) / 3

    @property
    def variance(self) -> Tensor:
        """Variance, of shape `batch_shape`."""
        rise, fall = self.peak - self.low, self.high - self.peak
        return (rise.square() + rise * fall + fall.square()) / 18

    @property
    def mode(self) -> Tensor:
        """`peak`."""
        return self.peak

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return 0.5 + (0.5 * (self.high - self.low)).log()

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood.

        Given the ends, the likelihood is greatest with the peak at one of the draws. For nine of the draws as peaks the
        best ends are searched for; the best of these triangles is then improved, peak and ends in turn, until it stays.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal: the likelihood then has no maximum.
            ArithmeticError: The search for the ends did not converge.

        Source: Oliver, A Maximum Likelihood Oddity, 1972, https://doi.org/10.1080/00031305.1972.10478926

        Example:
            >>> d = Triangular.fit(torch.tensor([1.0, 2.0, 2.0, 2.0, 2.0, 3.0]))
            >>> d.peak
            tensor(2.)
        """
        data, weights = fit_data("Triangular", data, weights)
        least, greatest = extremes("Triangular", data, weights)
        x, w = data.detach().double(), weights.detach().double().expand_as(data)
        ordered = x.sort(0).values
        picked = torch.linspace(0, len(x) - 1, min(len(x), _MAX_PEAKS), device=x.device).round().long()
        # Peaks of draws without weight may lie outside of the others.
        peaks = ordered[picked].clamp(least.double(), greatest.double())
        low, high = _ends(x.unsqueeze(1), w.unsqueeze(1), peaks)
        best = _likelihood(x.unsqueeze(1), w.unsqueeze(1), low, high, peaks).argmax(0, keepdim=True)
        low, high, peak = (t.gather(0, best).squeeze(0) for t in (low, high, peaks))
        for _ in range(_MAX_TURNS):
            better = _best_peak(x, w, low, high)
            low, high = _ends(x, w, better)
            moved, peak = better != peak, better
            if not bool(moved.any()):
                break
        return cls(low.to(data.dtype), high.to(data.dtype), peak.to(data.dtype))

    def _landmarks(self) -> Tensor:
        return torch.cat([super()._landmarks(), self.peak.unsqueeze(0)])

    def _distances(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From the lower and the upper end, and the lengths of the rising and the falling side."""
        inside = torch.minimum(torch.maximum(self._checked_value(value), self.low), self.high)
        return inside - self.low, self.high - inside, self.peak - self.low, self.high - self.peak


_MAX_PEAKS, _MAX_TURNS = 9, 100


def _cdf(distance: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
    width = rise + fall
    left = distance < rise
    below = distance * (distance / torch.where(left, rise * width, 1))
    return torch.where(left, below, _beyond_peak(distance, rise, fall))


def _log_cdf(below: Tensor, above: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
    left = (below < rise) & (below > 0)
    rising = 2 * torch.where(left, below, 1).log() - (torch.where(left, rise, 1) * (rise + fall)).log()
    beyond = _beyond_peak(below, rise, fall)
    falling = _log(beyond)
    # What is near 1, from its complement.
    complement = _cdf(above, fall, rise)
    large = torch.log1p(-complement.clamp(max=0.5))
    return torch.where(complement < 0.5, large, torch.where(left, rising, falling))


def _log(share: Tensor) -> Tensor:
    """The logarithm, minus infinity below 0 too, with a gradient of 0 there."""
    none = share <= 0
    return torch.where(none, -torch.inf, torch.where(none, 1, share).log())


def _beyond_peak(distance: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
    """The probability below a point on the falling side."""
    step = (distance - rise).clamp(min=0)
    return (rise + step * (2 - step / torch.where(fall > 0, fall, 1))) / (rise + fall)


def _ends(x: Tensor, w: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely ends of triangles with these peaks, `[*shape]`, for data `[num_data, ...]` that broadcast."""
    least = torch.minimum(torch.where(w > 0, x, torch.inf).amin(0), peak)
    greatest = torch.maximum(torch.where(w > 0, x, -torch.inf).amax(0), peak)

    class Around(Triangular):
        # `before` and `after` are what the ends lie beyond the outermost draws.
        arg_constraints = {"before": constraints.positive, "after": constraints.positive}  # noqa: RUF012

        def __init__(self, before: Tensor, after: Tensor, validate_args: bool | None = None) -> None:
            self.before, self.after = before, after
            self.low, self.high, self.peak = least - before, greatest + after, peak

        def log_prob(self, value: Tensor) -> Tensor:
            return _log_density(value, self.low, self.high, self.peak, w)

    Around.__name__ = "Triangular"
    start = 0.1 * (greatest - least)
    found = maximum_likelihood(Around, x, w, {"before": start, "after": start})
    return found.low, found.high


def _log_density(x: Tensor, low: Tensor, high: Tensor, peak: Tensor, w: Tensor) -> Tensor:
    left = x < peak
    climbed = torch.where(left, x - low, high - x)
    side = torch.where(left, peak - low, high - peak)
    counts = (w > 0) & (x != peak)
    log_share = torch.where(counts, climbed, 1).log() - torch.where(counts, side, 1).log()
    return math.log(2) - (high - low).log() + log_share


def _likelihood(x: Tensor, w: Tensor, low: Tensor, high: Tensor, peak: Tensor) -> Tensor:
    return (w * _log_density(x, low, high, peak, w)).sum(0)


def _best_peak(x: Tensor, w: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The draw that is the most likely peak between given ends."""
    ordered, order = x.sort(0)
    weights = w.gather(0, order)
    inside = weights > 0
    rise = torch.where(inside, ordered - low, 1)
    fall = torch.where(inside, high - ordered, 1)
    up_to, rising, falling = weights.cumsum(0), (weights * rise.log()).cumsum(0), (weights * fall.log()).cumsum(0)
    rest = (1 - up_to).clamp(min=0)
    likelihood = rising - up_to * rise.log() + (falling[-1:] - falling) - rest * fall.log()
    best = torch.where(inside, likelihood, -torch.inf).argmax(0, keepdim=True)
    return ordered.gather(0, best).squeeze(0)
