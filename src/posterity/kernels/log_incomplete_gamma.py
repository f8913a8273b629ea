"""Logarithms of the regularised incomplete gamma functions, finite where these underflow, with their derivatives.

Leans on the quadrature of `incomplete_gamma_integral`.
"""

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.incomplete_gamma import log_excess, no_third, usable_arguments, with_edges
from posterity.kernels.incomplete_gamma_integral import tail
from posterity.kernels.incomplete_gamma_small import small_upper


@elementwise(
    lambda concentration, x, value: _lower_score(concentration, x),
    lambda concentration, x, value: _lower_rate(concentration, x),
)
def log_gammainc(concentration: Tensor, x: Tensor) -> Tensor:
    """The logarithm of P(a, x), the log cdf of a Gamma(a, 1), finite where P underflows.

    Accurate also where P is nearly 1. Twice differentiable. Relative error, for a from 1e-4 to 1e6 and x at the
    quantiles 1e-250 to 1 - 1e-250: at most 4e-11 in float64 and 2e-5 in float32.

    Args:
        concentration: a >= 0, broadcasts with `x`.
        x: x >= 0.

    Returns:
        log P <= 0, of the broadcast shape; NaN for negative or NaN arguments, and for (0, 0) and (inf, inf).

    Raises:
        TypeError: No argument is a tensor, or one is complex.
        NotImplementedError: A third derivative is asked for.

    Example:
        >>> log_gammainc(torch.tensor(100.0), 1e-3)
        tensor(-1054.5159)
    """
    usable, a, y = usable_arguments(concentration, x)
    is_lower, own, value, complement = _log_tails(a, y)
    # Below a = 1 the lower tail itself may be nearly 1.
    q = torch.where(is_lower, complement, value)
    direct = is_lower & (value < 0.5)
    result = torch.where(direct, own, torch.log1p(-torch.where(direct, torch.zeros_like(q), q)))
    return with_edges(result, usable & (concentration > 0), concentration, x, -float("inf"), 0.0)


@elementwise(
    lambda concentration, x, value: _upper_score(concentration, x),
    lambda concentration, x, value: -_upper_rate(concentration, x),
)
def log_gammaincc(concentration: Tensor, x: Tensor) -> Tensor:
    """The logarithm of Q(a, x), the log survival function of a Gamma(a, 1), accurate as `log_gammainc`.

    Args:
        concentration: a >= 0, broadcasts with `x`.
        x: x >= 0.

    Returns:
        log Q <= 0, of the broadcast shape; NaN for negative or NaN arguments, and for (0, 0) and (inf, inf).

    Raises:
        TypeError: No argument is a tensor, or one is complex.
        NotImplementedError: A third derivative is asked for.

    Example:
        >>> log_gammaincc(torch.tensor(1.0), 1000.0)
        tensor(-1000.)
    """
    usable, a, y = usable_arguments(concentration, x)
    is_lower, own, value, complement = _log_tails(a, y)
    # A small P goes through log1p, a large one (a < 1) through the complement's own formula.
    other = torch.where(value > 0.5, torch.log(complement), torch.log1p(-value.clamp_max(0.75)))
    result = torch.where(is_lower, other, own)
    return with_edges(result, usable & (concentration > 0), concentration, x, 0.0, -float("inf"))


def _log_tails(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The smaller tail: whether it is P, its logarithm, its value, and the complement of the value."""
    t = tail(a, x)
    own = t.log_scale + torch.log(t.mass)
    value = torch.exp(own)
    lower, upper = _both(t.lower, value, a, x)
    return t.lower, own, value, torch.where(t.lower, upper, lower)


@elementwise(
    lambda a, x, value: value * (log_excess(a, x) - _lower_score(a, x)),
    lambda a, x, value: value * ((a - 1) / x - 1 - value),
)
def _lower_rate(a: Tensor, x: Tensor) -> Tensor:
    """The density over P."""
    lower, _, usable = _rates(a, x)
    return with_edges(lower, usable, a, x, float("inf"), 0.0)


@elementwise(
    lambda a, x, value: value * (log_excess(a, x) - _upper_score(a, x)),
    lambda a, x, value: value * ((a - 1) / x - 1 + value),
)
def _upper_rate(a: Tensor, x: Tensor) -> Tensor:
    """The density over Q, the hazard."""
    _, upper, usable = _rates(a, x)
    at_zero = torch.where(a < 1, torch.full_like(a, float("inf")), (a == 1).to(a.dtype))
    return with_edges(upper, usable, a, x, torch.where(x == 0, at_zero, torch.zeros_like(a)), 1.0)


def _rates(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    usable, b, y = usable_arguments(a, x)
    t = tail(b, y)
    own = b / (y * t.mass)
    value = torch.exp(t.log_scale) * t.mass
    lower_part, upper_part = _both(t.lower, value, b, y)
    # own * value is the density.
    density = torch.exp(t.log_scale + (torch.log(b) - torch.log(y)))
    return torch.where(t.lower, own, density / lower_part), torch.where(t.lower, density / upper_part, own), usable


@elementwise(
    lambda a, x, value: _lower_score_slope(a, x),
    lambda a, x, value: _lower_rate(a, x) * (log_excess(a, x) - value),
)
def _lower_score(a: Tensor, x: Tensor) -> Tensor:
    """The derivative of log P in `a`."""
    return _score(a, x, lower=True)


@elementwise(
    lambda a, x, value: _upper_score_slope(a, x),
    lambda a, x, value: -_upper_rate(a, x) * (log_excess(a, x) - value),
)
def _upper_score(a: Tensor, x: Tensor) -> Tensor:
    """The derivative of log Q in `a`."""
    return _score(a, x, lower=False)


@elementwise(no_third, no_third)
def _lower_score_slope(a: Tensor, x: Tensor) -> Tensor:
    """d2 log P / da2."""
    return _score_slope(a, x, lower=True)


@elementwise(no_third, no_third)
def _upper_score_slope(a: Tensor, x: Tensor) -> Tensor:
    """d2 log Q / da2."""
    return _score_slope(a, x, lower=False)


def _score(a: Tensor, x: Tensor, lower: bool) -> Tensor:
    usable, b, y = usable_arguments(a, x)
    t = tail(b, y, 1)
    scale = torch.exp(t.log_scale)
    part = _both(t.lower, scale * t.mass, b, y)[0 if lower else 1]
    sign = -1 if lower else 1
    score = sign * t.slope * torch.where(t.lower == lower, 1 / t.mass, scale / part)
    infinity = float("inf")
    return with_edges(score, usable, a, x, *((-infinity, 0.0) if lower else (0.0, infinity)))


def _score_slope(a: Tensor, x: Tensor, lower: bool) -> Tensor:
    usable, b, y = usable_arguments(a, x)
    t = tail(b, y, 2)
    scale = torch.exp(t.log_scale)
    part = _both(t.lower, scale * t.mass, b, y)[0 if lower else 1]
    sign = 1 if lower else -1
    inverse = torch.where(t.lower == lower, 1 / t.mass, scale / part)
    return with_edges(inverse * (sign * t.curvature - t.slope * (t.slope * inverse)), usable, a, x, 0.0, 0.0)


def _both(lower: Tensor, value: Tensor, a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """P and Q from the smaller tail's value."""
    complement = torch.where(lower & (a < 1), small_upper(a, x), 1 - value)
    return torch.where(lower, value, complement), torch.where(lower, complement, value)
