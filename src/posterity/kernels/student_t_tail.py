"""The tail of Student's t-distribution by a short series and one Gauss-Legendre rule, the same for every argument."""

import math

import torch
from torch import Tensor

from posterity.kernels.beta_tail import Rule, legendre
from posterity.kernels.tracing import expm1, once, weighted_sums

_DOUBLINGS = 5
RAISED = 2**_DOUBLINGS
# Above it a t-distribution is normal to the last digit.
LARGEST_DF = 1e20
# To the last digits of the tail, and to 3e-8 of it.
FINE, SINGLE = Rule(legendre(22), 31.0), Rule(legendre(12), 20.0)
# Steps of the recurrence for 1 / B(a, 1/2).
_SHIFT = 12
_INVERSE_BETA = (1.0, 1 / 2**6, -19 / 2**13, 631 / 2**19, -174317 / 2**27, 20491783 / 2**33, -7334801895 / 2**40)
_GAMMA_RATIO = (1.0, -1 / 64, 21 / 8192, -671 / 524288, 180323 / 134217728)
_DIGAMMA_GAP = (1 / 8, -1 / 64, 1 / 128, -17 / 2048, 31 / 2048)


def tail_factor(df: Tensor, sech2: Tensor, tanh: Tensor, rule: Rule = FINE) -> Tensor:
    r"""$P(T > x) / sech2^{df / 2}$ for $x = \sqrt{df} \sinh\theta \ge 0$, from `sech(theta)**2` and `tanh(theta)`.

    DLMF 8.17.20 with b = 1/2 raises a = df / 2 by k = 32 in the lower tail $I_{sech^2}(a, 1/2)$; what remains is
    $2 / B(a + k, 1/2) \int_{\sinh\theta}^\infty (1 + r^2)^{-(a + k + 1/2)} dr$, whose integrand falls to a given level
    at a point that is known in closed form. The gamma functions are those of DLMF 5.11.14.
    """
    a = 0.5 * df
    series = torch.zeros_like(a)
    coefficient = torch.ones_like(a)
    for k in range(RAISED - 1, -1, -1):
        coefficient = coefficient * (1 + 0.5 / (a + (k + 0.5)))
        series = torch.addcmul(coefficient, series, sech2)
        if k % 4 == 0:
            coefficient, series = once(coefficient), once(series)
    raised = once(a + RAISED)
    power = raised + 0.5
    width, linear, square = _range(power, tanh, rule.fall)

    def terms(node: float | Tensor) -> list[Tensor]:
        growth = (square * node).add_(linear).mul_(node)
        return [growth.log1p_().mul_(-power).exp_()]

    (rest,) = weighted_sums(terms, rule.points, a)
    falling = sech2
    for _ in range(_DOUBLINGS):
        falling = falling.square()
    inverse = once(1 / (raised + 0.25).square())
    ratio = torch.full_like(a, _GAMMA_RATIO[-1])
    for c in _GAMMA_RATIO[-2::-1]:
        ratio = ratio * inverse + c
    ratio = ratio * torch.rsqrt(raised + 0.25) * (0.5 / math.sqrt(math.pi))
    result: Tensor = ratio * (tanh * series + 2 * raised * falling * width * rest)
    return result


def inverse_beta(half: Tensor) -> Tensor:
    """`1 / B(half, 1/2)`, by steps of the recurrence and DLMF 5.11.14."""
    product = torch.ones_like(half)
    for k in range(_SHIFT):
        product = product * (1 - 0.5 / (half + (k + 0.5)))
    centre = once(half + (_SHIFT - 0.25))
    inverse = once(1 / centre.square())
    series = torch.full_like(half, _INVERSE_BETA[-1])
    for c in _INVERSE_BETA[-2::-1]:
        series = series * inverse + c
    result: Tensor = product * torch.sqrt(centre) * series * (1 / math.sqrt(math.pi))
    return result


def _range(power: Tensor, tanh: Tensor, fall: float) -> tuple[Tensor, Tensor, Tensor]:
    """The width in units of `cosh`, and the coefficients with which `1 + r^2` grows along it."""
    growth = expm1(fall / power)
    width = growth / (torch.sqrt(growth + tanh * tanh) + tanh)
    width = once(width)
    return width, 2 * tanh * width, width * width


def score(df: Tensor, sech2: Tensor, tanh2: Tensor) -> Tensor:
    """The derivative by df of the log density, without cancellation where df is large."""
    return _score_constant(df) - 0.5 * _excess(sech2, tanh2) + 0.5 * tanh2 / df


def score_by_df(df: Tensor, tanh2: Tensor) -> Tensor:
    """The second derivative by df of the log density."""
    return _score_constant_slope(df) + (tanh2 * tanh2 * df - tanh2 * (2 - tanh2)) / (2 * df * df)


def tail_means(df: Tensor, sech2: Tensor, tanh: Tensor, order: int) -> tuple[Tensor, ...]:
    """The first derivatives by df, at fixed x, of the logarithm of the tail; for df of 40 or more."""
    power = 0.5 * df + 0.5
    _, linear, square = _range(power, tanh, FINE.fall)

    def terms(node: float | Tensor) -> list[Tensor]:
        growth = node * (linear + node * square)
        value = torch.exp(-power * torch.log1p(growth))
        beyond = (tanh * tanh + growth) / (1 + growth)
        slope = score(df, sech2 / (1 + growth), beyond)
        first = [value, value * slope]
        return first if order == 1 else [*first, value * (slope * slope + score_by_df(df, beyond))]

    total, first, *second = weighted_sums(terms, FINE.points, df)
    mean = first / total
    return (mean, *(s / total - mean * mean for s in second))


def _excess(sech2: Tensor, tanh2: Tensor) -> Tensor:
    """`-log(sech2) - tanh2`, for small tanh2 by its series."""
    series = torch.zeros_like(tanh2)
    for k in range(12, 1, -1):
        series = (series + 1 / k) * tanh2
    return torch.where(tanh2 < 0.05, series * tanh2, -torch.log(sech2) - tanh2)


def _score_constant(df: Tensor) -> Tensor:
    half = 0.5 * df
    inverse = 1 / half.clamp(min=10.0).square()
    large = 0.5 * inverse * _polynomial(inverse)
    low = half.clamp(max=20.0)
    small = 0.5 * (torch.digamma(low + 0.5) - torch.digamma(low)) - 0.25 / low
    return torch.where(half > 20, large, small)


def _score_constant_slope(df: Tensor) -> Tensor:
    half = 0.5 * df
    clamped = half.clamp(min=10.0)
    inverse = 1 / clamped.square()
    large = torch.zeros_like(df)
    for k, c in reversed(list(enumerate(_DIGAMMA_GAP))):
        large = large * inverse - 0.25 * (2 * k + 2) * c
    large = large * inverse / clamped
    low = half.clamp(max=20.0)
    small = 0.25 * (torch.polygamma(1, low + 0.5) - torch.polygamma(1, low)) + 0.125 / low.square()
    return torch.where(half > 20, large, small)


def _polynomial(inverse: Tensor) -> Tensor:
    result = torch.zeros_like(inverse)
    for c in reversed(_DIGAMMA_GAP):
        result = result * inverse + c
    return result
