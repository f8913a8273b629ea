"""Modified Bessel functions of the first kind, exponentially scaled, and their ratios, for any order and argument.

With s the root of order^2 + x^2, the expansions in 1/s that are uniform in order / x serve from some s on, and the
power series and the continued fraction below it.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor

from posterity.kernels.bessel_expansions import logarithmic_expansion, ratio_expansions, uniform_expansion
from posterity.kernels.elementwise import elementwise

_Table = TypeVar("_Table")


def _log_ive_curvature(order: Tensor, x: Tensor, value: Tensor) -> Tensor:
    pole = torch.where(order == 0, 0, order / x / x)
    return bessel_ratio_slope(order + 1, x) - pole


@elementwise(None, _log_ive_curvature)
def _log_ive_slope(order: Tensor, x: Tensor) -> Tensor:
    """I'/I - 1, without the cancellation of large arguments."""
    x, s, q, large = _polar(order, x)
    correction = _series(_for(_LOGARITHMIC, x), q, s)
    above = (order * (order / (s + x)) + s * correction) / x
    small_order, small_x = _small(order, x)
    below = small_x * _continued_fraction(small_order, small_x) - 1 + torch.where(order == 0, 0, order / x)
    return torch.where(large, above, below)


@elementwise(None, lambda order, x, value: _log_ive_slope(order, x))
def log_ive(order: Tensor, x: Tensor) -> Tensor:
    r"""Logarithm of the exponentially scaled modified Bessel function, $\log(e^{-x} I_{order}(x))$.

    Args:
        order: Real order, at least 0; has no gradient.
        x: Argument, at least 0.

    Returns:
        The logarithm, of the broadcast shape; -inf at x = 0 for positive orders, NaN outside the domain.

    Source: DLMF 10.25.2 (power series) and 10.41.3 (expansion for large orders, uniform in x / order).

    Example:
        >>> log_ive(torch.tensor([0.0, 1000.0]), 100.0)
        tensor([   -3.2203, -2097.6106])
    """
    argument = x
    x, s, q, large = _polar(order, x)
    # The exponent sqrt(order^2 + x^2) - x - order asinh(order / x); log1p keeps asinh's digits for large x.
    angle = torch.where(
        order > x,
        (order + s).log() - x.log(),
        torch.log1p((order + order * (order / (s + x))) / torch.maximum(x, order)),
    )
    above = (order * (order / (s + x)) - order * angle) - 0.5 * s.log() - 0.5 * math.log(2 * math.pi)
    above = above + torch.log1p(_series(_for(_UNIFORM, x), q, s))
    small_order, small_x = _small(order, x)
    prefactor = torch.xlogy(small_order, small_x / 2) - torch.lgamma(small_order + 1) - small_x
    below = prefactor + torch.log1p(_power_series(small_order, small_x))
    result = torch.where(large, above, below)
    result = torch.where(argument == math.inf, -math.inf, result)
    return torch.where((order < 0) | (argument < 0), math.nan, result)


def _ive_slope_derivative(order: Tensor, x: Tensor, value: Tensor) -> Tensor:
    scaled, slope = ive(order, x), _log_ive_slope(order, x)
    # The power x^order decides at 0.
    origin = torch.where(order == 0, 1.5, torch.where(order == 1, -1.0, torch.where(order == 2, 0.25, 0.0)))
    origin = torch.where((order > 0) & (order < 1), -math.inf, torch.where((order > 1) & (order < 2), math.inf, origin))
    # Bessel's equation, and below 1 the recurrences, in which nothing cancels there.
    above = scaled * (slope * slope + _log_ive_curvature(order, x, slope))
    ratio = bessel_ratio(order + 1, x)
    below = scaled / x * (order * (order - 1) / x - 2 * order - ratio) + 2 * scaled * (1 - ratio)
    elsewhere = torch.where(scaled == 0, 0, torch.where(x < 1, below, above))
    return torch.where(x == 0, origin, elsewhere)


@elementwise(None, _ive_slope_derivative)
def _ive_slope(order: Tensor, x: Tensor) -> Tensor:
    origin = torch.where(order == 0, -1.0, torch.where(order == 1, 0.5, torch.where(order < 1, math.inf, 0.0)))
    scaled = log_ive(order, x).exp()
    elsewhere = torch.where(scaled == 0, 0, scaled * _log_ive_slope(order, x))
    return torch.where(x == 0, origin.to(x.dtype), elsewhere)


@elementwise(None, lambda order, x, value: _ive_slope(order, x))
def ive(order: Tensor, x: Tensor) -> Tensor:
    r"""The exponentially scaled modified Bessel function of the first kind, $e^{-x} I_{order}(x)$.

    Args:
        order: Real order, at least 0; has no gradient.
        x: Argument, at least 0.

    Returns:
        The function's values, of the broadcast shape; NaN outside the domain.

    Source: DLMF 10.25.2 and 10.41.3.

    Example:
        >>> ive(torch.tensor([0.0, 0.5, 10.0]), 2.0)
        tensor([3.0851e-01, 2.7693e-01, 4.0830e-08])
    """
    return log_ive(order, x).exp()


@elementwise(None, None)
def _ratio_curvature(order: Tensor, x: Tensor) -> Tensor:
    below_order = order - 1
    x, s, q, large = _polar(below_order, x)
    sum_ = s + below_order
    lead = -below_order * (x / s) * ((2 * s + below_order) / s) / s / sum_ / sum_
    above = lead - (x / s) / s * _series(_for(_RATIO_CURVATURE, x), q, s) / s
    small_order, small_x = _small(below_order, x)
    next_ratio = _continued_fraction(small_order + 1, small_x)
    ratio = 1 / (2 * small_order + 2 + small_x.square() * next_ratio)
    tilt = small_x * ratio * (next_ratio - ratio)
    below = -2 * small_x * ratio * (ratio + small_x * tilt) - (2 * small_order + 1) * tilt
    return torch.where(large, above, below)


@elementwise(None, lambda order, x, value: _ratio_curvature(order, x))
def bessel_ratio_slope(order: Tensor, x: Tensor) -> Tensor:
    """The derivative of `bessel_ratio` in x, relatively accurate where it falls like 1 / x^2.

    Args:
        order: Order of the ratio's numerator, at least 1; has no gradient.
        x: Argument, at least 0.

    Returns:
        The derivative, of the broadcast shape. With order = 1 it is the variance of the cosine of a von Mises angle.

    Source: as for `bessel_ratio`.

    Example:
        >>> bessel_ratio_slope(1.0, torch.tensor([0.0, 1e4]))
        tensor([5.0000e-01, 5.0002e-09])
    """
    below_order = order - 1
    x, s, q, large = _polar(below_order, x)
    above = below_order / s / (s + below_order) - _series(_for(_RATIO_SLOPE, x), q, s) / s
    small_order, small_x = _small(below_order, x)
    next_ratio = _continued_fraction(small_order + 1, small_x)
    ratio = 1 / (2 * small_order + 2 + small_x.square() * next_ratio)
    below = ratio + small_x.square() * ratio * (next_ratio - ratio)
    return torch.where(large, above, below)


@elementwise(None, lambda order, x, value: bessel_ratio_slope(order, x))
def bessel_ratio(order: Tensor, x: Tensor) -> Tensor:
    r"""The ratio of modified Bessel functions $I_{order}(x) / I_{order - 1}(x)$, which rises from 0 to 1.

    With order = d / 2 it is the mean resultant length of the von Mises-Fisher distribution on the sphere in d
    dimensions, and with order = 1 that of the von Mises distribution.

    Args:
        order: Order of the numerator, at least 1; has no gradient.
        x: Argument, at least 0.

    Returns:
        The ratio, of the broadcast shape; NaN outside the domain.

    Source: DLMF 10.33.1 (continued fraction); for large order or x the expansion of $x I'/I$ in inverse powers of
    $\sqrt{order^2 + x^2}$, from the Riccati equation that Bessel's equation (DLMF 10.25.1) becomes.

    Example:
        >>> bessel_ratio(torch.tensor([1.0, 1.5, 5000.0]), 2.0)
        tensor([6.9777e-01, 5.3731e-01, 2.0000e-04])
    """
    below_order, argument = order - 1, x
    x, s, q, large = _polar(below_order, x)
    above = x / (s + below_order) - (x / s) * _series(_for(_RATIO, x), q, s)
    small_order, small_x = _small(below_order, x)
    result = torch.where(large, above, small_x * _continued_fraction(small_order, small_x))
    return torch.where((order < 1) | (argument < 0), math.nan, result)


@elementwise(None, lambda order, x, value: -bessel_ratio_slope(order, x))
def bessel_ratio_complement(order: Tensor, x: Tensor) -> Tensor:
    r"""One minus `bessel_ratio`, with its digits kept where the ratio is near 1: with order = 1 a circular variance.

    Args:
        order: Order of the numerator, at least 1; has no gradient.
        x: Argument, at least 0.

    Returns:
        $1 - I_{order}(x) / I_{order - 1}(x)$, of the broadcast shape; NaN outside the domain.

    Source: as for `bessel_ratio`.

    Example:
        >>> bessel_ratio_complement(1.0, torch.tensor([0.0, 1e8]))
        tensor([1.0000e+00, 5.0000e-09])
    """
    below_order, argument = order - 1, x
    x, s, q, large = _polar(below_order, x)
    lead = below_order * (1 + below_order / (s + x)) / (s + below_order)
    above = lead + (x / s) * _series(_for(_RATIO, x), q, s)
    small_order, small_x = _small(below_order, x)
    result = torch.where(large, above, 1 - small_x * _continued_fraction(small_order, small_x))
    result = torch.where(argument == math.inf, 0, result)
    return torch.where((order < 1) | (argument < 0), math.nan, result)


def _slope_of_reciprocal(order: Tensor, x: Tensor, value: Tensor) -> Tensor:
    return torch.where(x == math.inf, math.inf, -_ratio_curvature(order, x) * value * value)


@elementwise(None, _slope_of_reciprocal)
def _reciprocal_slope(order: Tensor, x: Tensor) -> Tensor:
    return torch.where(x == math.inf, math.inf, 1 / bessel_ratio_slope(order, x))


@elementwise(None, lambda order, ratio, value: _reciprocal_slope(order, value))
def bessel_ratio_inverse(order: Tensor, ratio: Tensor) -> Tensor:
    r"""The argument at which `bessel_ratio(order, x)` has a given value: the concentration of a mean resultant length.

    Args:
        order: Order of the ratio's numerator, at least 1; has no gradient. Half the dimension of the space.
        ratio: Value of the ratio, in [0, 1].

    Returns:
        The argument, of the broadcast shape; inf at 1, NaN outside the domain.

    Source: Banerjee, Dhillon, Ghosh and Sra (2005), Clustering on the Unit Hypersphere using von Mises-Fisher
    Distributions, equation 4.4, gives the start; Newton steps on the logit of the ratio over log x end it.

    Example:
        >>> bessel_ratio_inverse(1.0, torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.0000, 1.1593,    inf])
    """
    inside = (ratio > 0) & (ratio < 1)
    target = torch.where(inside, ratio, 0.5)
    rest = 1 - target
    x = target * (2 * order - target.square()) / (rest * (1 + target))
    for _ in range(_NEWTON_STEPS):
        reached, missing = bessel_ratio(order, x), bessel_ratio_complement(order, x)
        gap = (reached / target).log() - (missing / rest).log()
        # The step of log x, whose exponential stays positive.
        step = gap * reached * missing / (x * bessel_ratio_slope(order, x))
        x = x * (-step.clamp(-3, 3)).exp()
    x = torch.where(ratio == 0, 0, torch.where(ratio == 1, math.inf, x))
    return torch.where((ratio >= 0) & (ratio <= 1) & (order >= 1), x, math.nan)


_NEWTON_STEPS = 6

# From this s on the expansions below reach the dtype's precision; below it, so do this many terms of the power
# series, and levels of the continued fraction.
_REACH = {torch.float32: 10.0, torch.float64: 25.0}
_NUM_TERMS = {torch.float32: 36, torch.float64: 60}
_NUM_LEVELS = {torch.float32: 18, torch.float64: 34}
_NUM_ORDERS = {torch.float32: 11, torch.float64: 14}
_UNIFORM = {dtype: uniform_expansion(n) for dtype, n in _NUM_ORDERS.items()}
_LOGARITHMIC = {dtype: logarithmic_expansion(n) for dtype, n in _NUM_ORDERS.items()}
_RATIO = {dtype: ratio_expansions(n)[0] for dtype, n in _NUM_ORDERS.items()}
_RATIO_SLOPE = {dtype: ratio_expansions(n)[1] for dtype, n in _NUM_ORDERS.items()}
_RATIO_CURVATURE = {dtype: ratio_expansions(n)[2] for dtype, n in _NUM_ORDERS.items()}


def _for(by_type: dict[torch.dtype, _Table], x: Tensor) -> _Table:
    if x.dtype not in by_type:
        raise TypeError(f"Bessel functions take float32 and float64, but got {x.dtype}; use .to(torch.float32).")
    return by_type[x.dtype]


def _polar(order: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = x.clamp(0, torch.finfo(x.dtype).max / 8)
    s = torch.hypot(order, x)
    large = s >= _for(_REACH, x)
    s = torch.where(s < _for(_REACH, x), _for(_REACH, x), s)
    return x, s, (order / s).square().clamp(max=1), large


def _small(order: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    reach = _for(_REACH, x)
    return order.clamp(max=reach), x.clamp(max=reach)


def _power_series(order: Tensor, x: Tensor) -> Tensor:
    quarter = 0.25 * x.square()
    total = torch.zeros_like(x)
    for k in range(_for(_NUM_TERMS, x), 0, -1):
        total = quarter / (k * (order + k)) * (1 + total)
    return total


def _continued_fraction(order: Tensor, x: Tensor) -> Tensor:
    """I_{order + 1}(x) / (x I_order(x)), for orders of at least -1/2."""
    square, top = x.square(), order + _for(_NUM_LEVELS, x)
    ratio = 1 / (top + 0.5 + (square + (top + 1).square()).sqrt())
    for level in range(_for(_NUM_LEVELS, x), 0, -1):
        ratio = 1 / (2 * (order + level) + square * ratio)
    return ratio


def _series(coefficients: list[list[float]], q: Tensor, s: Tensor) -> Tensor:
    """The sum over n >= 1 of a polynomial in q over s^n."""
    total = torch.zeros_like(s)
    for polynomial in reversed(coefficients):
        value = torch.full_like(q, polynomial[-1])
        for coefficient in reversed(polynomial[:-1]):
            value = value * q + coefficient
        total = (total + value) / s
    return total
