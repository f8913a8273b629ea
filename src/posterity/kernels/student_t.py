"""The distribution function of Student's t, its logarithm and its inverse, for any positive degrees of freedom."""

import math

import torch
from torch import Tensor

from posterity.kernels.beta_tail import Rule
from posterity.kernels.elementwise import broadcast_arguments, elementwise
from posterity.kernels.incomplete_beta import complement_of, log_betainc_by_a, log_betainc_by_x, widened
from posterity.kernels.student_t_start import quantile_start
from posterity.kernels.student_t_tail import (
    FINE,
    LARGEST_DF,
    SINGLE,
    inverse_beta,
    score,
    score_by_df,
    tail_factor,
    tail_means,
)
from posterity.kernels.tracing import expm1, once

_SWITCH = 40.0


def student_t_cdf(df: Tensor | float, x: Tensor | float) -> Tensor:
    """P(T <= x) for Student's t-distribution; P(T > x) is `student_t_cdf(df, -x)`.

    Computed in float64, whatever the dtype. For df from 0.05 to 1e8 (and its normal limit, df = inf) the relative
    error is below 1e-13 in float64 (7e-14 at worst of 147 points with x from 0 to 1e300, at df = 0.7 and x near 0)
    and 2e-7 in float32, into tails of 1e-250; that of the derivative by df is below 1e-8. A third derivative by df is
    refused.

    Args:
        df: Degrees of freedom, positive; otherwise the result is NaN.
        x: Where; infinite values included.

    Returns:
        Tensor of the broadcast shape and promoted dtype.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Source: DLMF 8.17; Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 28.

    Example:
        >>> student_t_cdf(torch.tensor(1.0), torch.tensor([-1e6, -1.0, 0.0]))
        tensor([3.1831e-07, 2.5000e-01, 5.0000e-01])
    """
    df, x = broadcast_arguments("student_t_cdf", (df, x))
    result: Tensor = _cdf(widened(df), widened(x))
    return result.to(x.dtype)


def student_t_log_cdf(df: Tensor | float, x: Tensor | float) -> Tensor:
    """The logarithm of `student_t_cdf(df, x)`, finite where that underflows.

    Example:
        >>> student_t_log_cdf(torch.tensor(1e4), torch.tensor([-100.0, 0.0]))
        tensor([-3.4709e+03, -6.9315e-01])
    """
    df, x = broadcast_arguments("student_t_log_cdf", (df, x))
    result: Tensor = _log_cdf(widened(df), widened(x))
    return result.to(x.dtype)


def student_t_icdf(df: Tensor | float, p: Tensor | float) -> Tensor:
    """The value that Student's t falls below with probability p; derivatives by the implicit function theorem.

    The relative error is below 1e-10 in float64 where p differs from one half by more than 1e-4 of itself, from
    tails of 1e-250 on; in float32 it is that of a rounding of p and one of the result. What overflows is infinite.

    Args:
        df: Degrees of freedom, positive.
        p: Probability in [0, 1]. Outside of these ranges the result is NaN.

    Returns:
        Tensor of the broadcast shape and promoted dtype.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Source: Hill (1970), Algorithm 396, where df is 2 or more, and series elsewhere; then one step of Householder's
    third order.

    Example:
        >>> student_t_icdf(torch.tensor(1.0), torch.tensor([1e-6, 0.25, 0.5]))
        tensor([-3.1831e+05, -1.0000e+00,  0.0000e+00])
    """
    df, p = broadcast_arguments("student_t_icdf", (df, p))
    quantile = _icdf if p.dtype == torch.float64 else _icdf_single
    result: Tensor = quantile(widened(df), widened(p))
    return result.to(p.dtype)


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, 1.0, -1.0).to(x.dtype)


@elementwise(
    lambda df, x, value: _sign(x) * _cdf(df, x * _sign(x)) * _tail_score(df, -x * _sign(x)),
    lambda df, x, value: torch.exp(_log_density(df, x)),
)
def _cdf(df: Tensor, x: Tensor) -> Tensor:
    tail = _tail(df, x)
    return _checked(df, torch.where(x < 0, tail, 1 - tail))


@elementwise(
    lambda df, x, value: (
        _sign(x)
        * torch.exp(_log_cdf(df, x * _sign(x)).clamp(min=-1e38) - value.clamp(min=-1e37))
        * _tail_score(df, -x * _sign(x))
    ),
    lambda df, x, value: torch.exp(_log_density(df, x).clamp(min=-1e38) - value.clamp(min=-1e37)),
)
def _log_cdf(df: Tensor, x: Tensor) -> Tensor:
    half, log_sech2, sech2, tanh = _angle(df, x.abs())
    log_tail = half * log_sech2 + torch.log(tail_factor(2 * half, sech2, tanh))
    return _checked(df, torch.where(x < 0, log_tail, torch.log1p(-torch.exp(log_tail))))


def _tail(df: Tensor, x: Tensor) -> Tensor:
    half, log_sech2, sech2, tanh = _angle(df, x.abs())
    return torch.exp(half * log_sech2) * tail_factor(2 * half, sech2, tanh)


def _checked(df: Tensor, value: Tensor) -> Tensor:
    return torch.where(df > 0, value, torch.nan)


def _angle(df: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half of df, then log sech^2, sech^2 and tanh of asinh(r / sqrt(df)), also where r^2 overflows."""
    df = df.clamp(max=LARGEST_DF)
    root = r * torch.rsqrt(df)
    bounded = root.clamp(max=1e150)
    square = bounded * bounded
    sech2 = 1 / (1 + square)
    log_sech2 = torch.where(root < 1e150, -torch.log1p(square), -2 * torch.log(root))
    return once(0.5 * df), once(log_sech2), once(sech2), once(bounded * torch.sqrt(sech2))


@elementwise(
    lambda df, x, value: _score(df, x),
    lambda df, x, value: -_slope(df, x, 1),
)
def _log_density(df: Tensor, x: Tensor) -> Tensor:
    half, log_sech2, _, _ = _angle(df, x.abs())
    logarithm = torch.log(inverse_beta(half)) - 0.5 * torch.log(2 * half) + (half + 0.5) * log_sech2
    return _checked(df, logarithm)


def _slope(df: Tensor, x: Tensor, shift: float) -> Tensor:
    """`(df + shift) x / (df + x^2)`, which overflows nowhere."""
    df, bounded = df.clamp(max=LARGEST_DF), x.clamp(-1e150, 1e150)
    return (df + shift) * (bounded / (df + bounded * bounded))


@elementwise(
    lambda df, x, value: _score_slope(df, x),
    lambda df, x, value: _slope(df, x, 0) / df * _slope_factor(df, x),
)
def _score(df: Tensor, x: Tensor) -> Tensor:
    half, _, sech2, tanh = _angle(df, x.abs())
    return score(2 * half, sech2, tanh * tanh)


def _slope_factor(df: Tensor, x: Tensor) -> Tensor:
    df, bounded = df.clamp(max=LARGEST_DF), x.clamp(-1e150, 1e150)
    return (1 - bounded * bounded) / (df + bounded * bounded)


def _refused(*arguments: Tensor) -> Tensor:
    raise NotImplementedError("student_t_cdf: third derivatives by df are not implemented; two orders are.")


@elementwise(_refused, _refused)
def _score_slope(df: Tensor, x: Tensor) -> Tensor:
    half, _, _, tanh = _angle(df, x.abs())
    return score_by_df(2 * half, tanh * tanh)


def _tail_score(df: Tensor, r: Tensor) -> Tensor:
    """The derivative by df of log P(T > r), for r >= 0."""
    low = df.clamp(max=_SWITCH)
    bounded = r.clamp(max=1e145)
    total = low + bounded * bounded
    x, y = low / total, (bounded * bounded / total).clamp(min=1e-300)
    half = torch.full_like(low, 0.5)
    small = 0.5 * log_betainc_by_a(0.5 * low, half, x, y) + log_betainc_by_x(0.5 * low, half, x, y) * (
        x * complement_of(x, y) / low
    )
    return torch.where(df < _SWITCH, small, _tail_score_large(df.clamp(min=_SWITCH), r))


@elementwise(
    lambda df, r, value: _tail_score_slope(df, r),
    lambda df, r, value: -torch.exp(_log_density(df, r) - _log_cdf(df, -r)) * (_score(df, r) - value),
)
def _tail_score_large(df: Tensor, r: Tensor) -> Tensor:
    half, _, sech2, tanh = _angle(df, r)
    return tail_means(2 * half, sech2, tanh, 1)[0]


@elementwise(_refused, _refused)
def _tail_score_slope(df: Tensor, r: Tensor) -> Tensor:
    half, _, sech2, tanh = _angle(df, r)
    return tail_means(2 * half, sech2, tanh, 2)[1]


_BY_DF_AND_P = (
    lambda df, p, value: (
        -_sign(value)
        * torch.exp(_log_cdf(df, value * _sign(value)).clamp(min=-1e38) - _log_density(df, value).clamp(min=-1e37))
        * _tail_score(df, -value * _sign(value))
    ),
    lambda df, p, value: torch.exp(-_log_density(df, value)),
)


@elementwise(*_BY_DF_AND_P)
def _icdf(df: Tensor, p: Tensor) -> Tensor:
    return _quantile(df, p, FINE)


@elementwise(*_BY_DF_AND_P)
def _icdf_single(df: Tensor, p: Tensor) -> Tensor:
    """To the digits of float32."""
    return _quantile(df, p, SINGLE)


def _quantile(df: Tensor, p: Tensor, rule: Rule) -> Tensor:
    df_ = df.clamp(max=LARGEST_DF)
    target = torch.minimum(p, 1 - p)
    positive = target.clamp(min=1e-320)
    log_target = once(torch.log(positive))
    normaliser = once(inverse_beta(0.5 * df_))
    theta = quantile_start(df_, positive, log_target, normaliser)
    r = torch.sqrt(df_) * torch.sinh(_improved(theta, df_, log_target, normaliser, rule))
    r = torch.where(target > 0, r, torch.inf)
    value = torch.where(p < 0.5, -r, torch.where(p == 0.5, 0.0, r))
    return _checked(df, torch.where((p >= 0) & (p <= 1), value, torch.nan))


def _improved(theta: Tensor, df: Tensor, log_target: Tensor, normaliser: Tensor, rule: Rule) -> Tensor:
    """A step of Householder's third order to log P(T > sqrt(df) sinh(theta)) = log_target."""
    fall = once(torch.exp(-2 * theta))
    sinh = once(torch.sinh(theta.clamp(max=1.0)))
    log_sech2 = torch.where(theta < 1, -torch.log1p(sinh * sinh), -2 * (theta + torch.log1p(fall) - math.log(2)))
    log_sech2 = once(log_sech2)
    sech2, tanh = once(torch.exp(log_sech2)), once(-expm1(-2 * theta) / (1 + fall))
    factor = once(tail_factor(df, sech2, tanh, rule))
    error = 0.5 * df * log_sech2 + torch.log(factor) - log_target
    hazard = once(normaliser / factor)
    # Derivatives of the logarithm of the tail; that of the density by theta is -df * tanh.
    one = -hazard
    growth = once(hazard - df * tanh)
    two = -hazard * growth
    three = -hazard * (growth * growth + hazard * growth - df * sech2)
    u, v, w = once(error / one), once(two / one), once(three / one)
    step = u * (1 - 0.5 * u * v) / (1 - u * v + u * u * w / 6)
    return once((theta - step).clamp(min=0.0))
