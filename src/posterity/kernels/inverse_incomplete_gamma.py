"""The inverses of the regularised incomplete gamma functions, with derivatives by the implicit function theorem.

Leans on the forward functions, a guess from Temme's uniform expansion, and Halley steps in logarithms.
"""

from functools import partial

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.incomplete_gamma import gamma_density, gamma_quantile_slope
from posterity.kernels.incomplete_gamma_integral import DOUBLE, SINGLE, Rule, tail
from posterity.kernels.incomplete_gamma_small import log_gamma_ratio, small_series
from posterity.kernels.tracing import expm1, iterate, once


@elementwise(
    lambda concentration, p, value: gamma_quantile_slope(concentration, value),
    lambda concentration, p, value: 1 / gamma_density(concentration, value),
)
def gammaincinv(concentration: Tensor, p: Tensor) -> Tensor:
    """The x with P(a, x) = p: the quantile function of a Gamma(a, 1).

    For a >= 1 the guess is the first correction of Temme's inversion (1992, "Asymptotic inversion of incomplete gamma
    functions", eq. 3.2 to 3.6); two Halley steps on the logarithm of the smaller tail against log x follow, which are
    nearly exact in both tails. For a < 1 and x < 1 the equation is solved in log x, so that it holds its accuracy
    while x goes to zero like p^(1/a). Relative error of x for a from 1e-4 to 1e6 and p from 1e-290: at most 1e-10 in
    float64 and 2e-5 in float32 (p from 1e-37), or a few roundings of p times the condition number `p / (x pdf(x))`
    where that is larger. Twice differentiable in both arguments.

    Args:
        concentration: a >= 0, broadcasts with `p`.
        p: Probability in [0, 1].

    Returns:
        x in [0, inf], of the broadcast shape; NaN for arguments outside these ranges.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Example:
        >>> gammaincinv(torch.tensor(1.0, dtype=torch.float64), 1e-300)  # -log(1 - p)
        tensor(1.0000e-300, dtype=torch.float64)
    """
    lower = p <= 0.5
    return _quantile(concentration, lower, torch.where(lower, p, 1 - p), p, complement=False)


@elementwise(
    lambda concentration, q, value: gamma_quantile_slope(concentration, value),
    lambda concentration, q, value: -1 / gamma_density(concentration, value),
)
def gammainccinv(concentration: Tensor, q: Tensor) -> Tensor:
    """The x with Q(a, x) = q: the inverse survival function of a Gamma(a, 1), by the method of `gammaincinv`.

    Args:
        concentration: a >= 0, broadcasts with `q`.
        q: Probability in [0, 1], as small as numbers go.

    Returns:
        x in [0, inf], of the broadcast shape; NaN for arguments outside these ranges.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Example:
        >>> gammainccinv(torch.tensor(1.0, dtype=torch.float64), 1e-300)  # -log(q) = 300 log 10
        tensor(690.7755, dtype=torch.float64)
    """
    lower = q >= 0.5
    return _quantile(concentration, lower, torch.where(lower, 1 - q, q), q, complement=True)


def _quantile(a: Tensor, lower: Tensor, smaller: Tensor, given: Tensor, complement: bool) -> Tensor:
    """The x from the smaller of the two probabilities, lower where `lower`; `given` is p, or q if `complement`."""
    infinity = float("inf")
    usable = (smaller > 0) & (given < 1) & (a > 0) & (a < infinity)
    b = once(torch.where(usable, a, torch.ones_like(a)).clamp_min(1e3 * torch.finfo(a.dtype).tiny))
    r = once(torch.where(usable, smaller, torch.full_like(a, 0.5)))
    given_safe = torch.where(usable, given, r)
    log_p = torch.log1p(-given_safe) if complement else torch.log(given_safe)

    log_x = _solve_small(b, log_p)
    inside = torch.where((b < 1) & (log_x <= 0), torch.exp(log_x.clamp_max(0)), _solve(b, r, lower))

    at_p_zero, at_p_one = (given == 1, given == 0) if complement else (given == 0, given == 1)
    zero = (at_p_zero & (a >= 0) & (a < infinity)) | ((a == 0) & (given >= 0) & (given <= 1) & ~at_p_one)
    large = (at_p_one & (a > 0)) | ((a == infinity) & (given >= 0) & (given <= 1) & ~at_p_zero)
    nan = torch.full_like(a, float("nan"))
    outside = torch.where(zero, torch.zeros_like(a), torch.where(large, torch.full_like(a, infinity), nan))
    return torch.where(usable, inside, outside)


def _solve(a: Tensor, r: Tensor, lower: Tensor) -> Tensor:
    """The general case: Halley's steps on log(tail) - log(r) as a function of log x."""
    log_r = torch.log(r)
    # Where a < 1 only the upper tail above x = 1 comes here.
    x = torch.where(a < 1, _guess_small(a, log_r), _guess(a, r, lower))
    sign = torch.where(lower, torch.ones_like(a), -torch.ones_like(a))
    if a.dtype == torch.float32:
        return iterate(partial(_improved, SINGLE), once(x), (a, log_r, sign), 2, settled=1e-5)
    # A step with a few digits of the tail leaves at most 1e-5 of it to one with all of them.
    x, _ = _improved(SINGLE, once(x), a, log_r, sign)
    return _improved(DOUBLE, once(x), a, log_r, sign)[0]


def _improved(rule: Rule, x: Tensor, a: Tensor, log_r: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """Halley's step for the logarithm of the lower tail (sign = 1) or the upper one (-1), and the error before it."""
    t = tail(a, x, rule=rule)
    scale = torch.exp(t.log_scale)
    value = scale * t.mass
    own = t.lower == (sign > 0)
    error = torch.where(own, t.log_scale + torch.log(t.mass), torch.log1p(-torch.where(own, 0, value))) - log_r
    # d log(tail) / d log x = sign * rate
    rate = a * torch.where(own, 1 / t.mass, scale / (1 - value))
    step = -sign * error / rate
    return x * torch.exp(step / (1 + 0.5 * step * (a - x - sign * rate))), error


def _guess(a: Tensor, r: Tensor, lower: Tensor) -> Tensor:
    """Temme's inversion for a >= 1: eta from the normal quantile, its 1/a correction, and lambda = x / a from eta."""
    z = torch.special.ndtri(r)
    eta = torch.where(lower, z, -z) / torch.sqrt(a)
    half_square = 0.5 * eta * eta
    # w = log(lambda) solves e^w - 1 - w = eta^2 / 2, with the sign of eta.
    minus = torch.exp((eta - eta * eta / 6).clamp_max(0)) - 1 - half_square
    plus = torch.log1p(eta.clamp_min(0) * (1 + eta.clamp_min(0) / 3))
    near = eta.abs() < 0.1
    start = torch.where(eta < 0, minus, plus)
    w = once(torch.where(near, torch.ones_like(a), start))
    for _ in range(2):
        e = expm1(w)
        w = once(w - (e - w - half_square) / e)
    e = expm1(w)
    safe_eta = torch.where(near, torch.ones_like(a), eta)
    safe_ratio = torch.where(near, torch.ones_like(a), eta / e)
    ratio = torch.where(near, 1 - eta / 3, safe_ratio)
    correction = torch.where(near, eta / 36 - 1 / 3, torch.log(safe_ratio) / safe_eta)
    # d w / d eta = eta / (lambda - 1)
    return a * torch.exp(torch.where(near, eta - eta * eta / 6, w) + correction / a * ratio)


def _guess_small(a: Tensor, log_q: Tensor) -> Tensor:
    """For a < 1 and x > 1, from log Q(a, x) = a log x - x - log(x + 1 - a) - log Gamma(a), nearly."""
    a = a.clamp_max(1)
    constant = torch.log(a) - a * log_gamma_ratio(a) - log_q
    x = constant.clamp_min(1)
    for _ in range(3):
        x = once((constant + a * torch.log(x) - torch.log(x + 1 - a)).clamp_min(1))
    return x


def _solve_small(a: Tensor, log_p: Tensor) -> Tensor:
    """Solves for log x, for a < 1 where x <= 1; positive where the solution is above 1 (for a >= 1 just finite).

    Halley's steps on `log P(a, e^y) / a = y - log Gamma(a + 1) / a + log(1 + a S) / a`, concave in y, from the
    inverse of its power series (DLMF 8.7.1) to the fourth order.
    """
    a = a.clamp_max(1)
    target = once(log_gamma_ratio(a) + log_p / a)
    first = 1 / (a + 1)
    second = (3 * a + 5) / (2 * (a + 2)) * first * first
    third = (8 * a * a + 33 * a + 31) / (3 * (a + 2) * (a + 3)) * first * first * first
    leading = once(torch.exp(target.clamp_max(0)))
    y = target + torch.log1p(leading * (first + leading * (second + leading * third)))
    for _ in range(2):
        y = once(y.clamp_max(0))
        series, slope, bend = small_series(a, torch.exp(y), 2)
        share = once(1 / (1 + a * series))
        error = y + torch.log1p(a * series) / a - target
        first_derivative = 1 + slope * share
        second_derivative = (bend - a * slope * slope * share) * share
        newton = error / first_derivative
        y = y - newton / (1 - 0.5 * newton * second_derivative / first_derivative)
    return y
