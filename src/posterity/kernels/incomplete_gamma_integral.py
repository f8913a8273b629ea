"""The smaller tail of the gamma distribution, its first two derivatives in the concentration, by one fixed quadrature.

Leans on torch alone. Whatever is computed here is a sum of terms of one sign, so it keeps its relative accuracy where
the tail itself is far below the smallest number.
"""

import math
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from posterity.kernels.tracing import once, traced, weighted_sums

# Below this concentration Stirling's series is used at `a + SHIFT`, and the lower tail is moved up by its recurrence.
SHIFT = 6
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Tail(NamedTuple):
    """The smaller tail of the gamma distribution: P where `lower`, else Q.

    With `D = x^a e^-x / Gamma(a + 1)`, the tail is `exp(log_scale) * mass`, `log_scale = log D`.
    """

    lower: Tensor
    log_scale: Tensor
    mass: Tensor
    #: `-dP/da / D`, positive
    slope: Tensor
    #: `d2P/da2 / D`
    curvature: Tensor


class Rule(NamedTuple):
    """How one integral is taken: nodes and weights on [0, 1], and the exponent to cut at."""

    points: tuple[tuple[float, float], ...]
    cut: float


def tail(a: Tensor, x: Tensor, order: int = 0, rule: Rule | None = None) -> Tail:
    """The smaller tail at finite positive `a` and `x`, with its first `order` derivatives in `a`.

    The lower tail is taken for x <= max(a, 1). With sigma = -1 there and +1 for the upper tail,

        tail = x^a e^-x / Gamma(a) * int_0^inf exp(-phi(sigma u)) du,   phi(v) = (x - a) v + x (e^v - 1 - v),

    from the integrals that define P and Q (DLMF 8.2.1, 8.2.2) by the substitution t = x e^v. phi is convex with both
    terms positive, so Gauss-Legendre on the interval where phi is below a constant serves every a >= 6. For smaller a
    the lower tail is taken at a + 6 and brought back by P(a) = P(a + 1) + D (DLMF 8.8.5). Derivatives in `a` bring
    powers of u into the integrand.

    Args:
        a: Concentration, finite and positive.
        x: Same shape, finite and positive.
        order: 0, 1 or 2. The fields of higher derivatives are then empty (zero).
        rule: The quadrature; None: that of the dtype and the order.

    Returns:
        The tail. float64: relative error of the mass about 2e-11; float32: about 1e-5.
    """
    lower, small = x <= a.clamp_min(1), a < SHIFT
    shifted = lower & small
    base = torch.where(small, a + SHIFT, a)
    b = torch.where(shifted, base, a)
    moments = _moments(x, b, lower, rule or _rule(a.dtype, order), order)
    head, head_h, head_hh, factor, h, g = _recurrence(a, x, order)
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    factor = b * torch.where(shifted, factor, one)
    mass = torch.where(shifted, head, zero) + factor * moments[0]
    log_scale = log_density_scale(a, x)
    if order == 0:
        return Tail(lower, log_scale, mass, zero, zero)

    # psi and psi' are those of a + 1 for small a, else of a; `shifted` moments carry the recurrence's derivatives.
    h_of_mass, g_of_mass = torch.where(shifted, h, zero), torch.where(shifted, g, zero)
    first = torch.where(shifted, head_h, zero) + factor * (moments[1] + h_of_mass * moments[0])
    excess = torch.where(small, torch.log(x) - torch.log(base), log_ratio(a, x))
    excess = excess + log_minus_digamma(base) + torch.where(small, h, zero)
    sign = torch.where(lower, -one, one)
    # For small `a` the upper tail's own factor a of `a D` is differentiated apart, so that no 1/a cancels.
    apart = torch.where(small & ~lower, 1 / a, zero)
    slope = first + sign * (excess + apart) * mass
    if order == 1:
        return Tail(lower, log_scale, mass, slope, zero)
    second = torch.where(shifted, head_hh, zero) + factor * (
        moments[2] + 2 * h_of_mass * moments[1] + (h_of_mass**2 + g_of_mass) * moments[0]
    )
    curve = excess * (excess + 2 * apart) - trigamma(base) - torch.where(small, g, zero)
    curvature = -sign * (mass * curve + 2 * sign * (excess + apart) * first + second)
    return Tail(lower, log_scale, mass, slope, curvature)


def log_density_scale(a: Tensor, x: Tensor) -> Tensor:
    """log(x^a e^-x / Gamma(a + 1)) for positive `a` and `x`, with no cancellation for x near a large `a`."""
    small = a < SHIFT
    base = torch.where(small, a + SHIFT, a)
    near = torch.log(torch.where(small, x, x / a))
    d = x - a
    r = d / (x + a)
    # -a (y - 1 - log y), y = x/a, is -r d (1 - ...) by log y = 2 artanh(r): no cancellation near y = 1.
    limit, terms = (0.3, 11) if a.dtype == torch.float64 else (0.5, 10)
    square = (r * r).clamp_max(limit * limit)
    series = _polynomial(square, [1 / (2 * k + 3) for k in range(terms)])
    deviance = torch.where(r.abs() < limit, r * (d - 2 * a * (r * r) * series), d - a * near)
    log_base = torch.log(base)
    product = (a + 1) * (a + 2) * (a + 3) * (a + 4) * (a + 5)
    log_factorial = (base - 0.5) * log_base - base + HALF_LOG_2PI - torch.log(torch.where(small, product, base))
    log_scale = torch.where(small, a * near - x - log_factorial, -deviance - 0.5 * log_base - HALF_LOG_2PI)
    return log_scale - _stirling_error(base)


def log_ratio(a: Tensor, x: Tensor) -> Tensor:
    """log(x / a), exact to rounding for x near a."""
    delta = (x - a) / a
    close = delta.abs() < 0.5
    return torch.where(close, torch.log1p(torch.where(close, delta, torch.zeros_like(a))), torch.log(x) - torch.log(a))


def log_minus_digamma(a: Tensor) -> Tensor:
    """log(a) - psi(a) for a >= 6, by DLMF 5.11.2."""
    s = 1 / (a * a)
    return 0.5 / a + s * _polynomial(s, [b / (2 * k) for k, b in enumerate(BERNOULLI, 1)])


def trigamma(a: Tensor) -> Tensor:
    """psi'(a) for a >= 6, by the derivative of DLMF 5.11.2."""
    y = 1 / a
    return y * (1 + y * (0.5 + y * _polynomial(y * y, list(BERNOULLI))))


def _stirling_error(a: Tensor) -> Tensor:
    y = 1 / a
    return y * _polynomial(y * y, [b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1)])


def _moments(x: Tensor, b: Tensor, lower: Tensor, rule: Rule, order: int) -> list[Tensor]:
    """The integrals of u^k exp(-phi(sigma u)), k = 0 .. order."""
    d = x - b
    # phi is at least a rational function of t = u (lower) or e^u - 1 (upper), from u - 1 + e^-u >= u^2 / (2 + u) and
    # t - log(1 + t) >= t^2 / (2 + 4 t / 3); where that reaches `cut` is the root of a quadratic.
    scale = torch.where(lower, b, (4 / 3) * d + b)
    half = (d.abs() - rule.cut * torch.where(lower, torch.full_like(x, 1 / 2), torch.full_like(x, 2 / 3))) / scale
    product = 2 * rule.cut / scale
    reach = product / (half + torch.sqrt(half * half + product))
    signed = torch.where(lower, -reach, torch.log1p(reach))
    signed, slope, minus_x = once(signed), -d, -x
    first = once(b * signed)
    powers = range(order + 1)

    def terms(node: float | Tensor) -> list[Tensor]:
        # In float64 phi is a difference that is off by sqrt(x) roundings, which matter from x = 1e10 on.
        if x.dtype == torch.float64 and isinstance(node, float):
            value = (signed * node).expm1_().mul_(minus_x).add_(first, alpha=node).exp_()
        elif x.dtype == torch.float64:
            # e^v - 1 by the tangent: Inductor subtracts 1 from e^v. What is short, with no value used twice, is fused
            # with its sum; anything else is stored for all nodes first.
            tangent = torch.tanh(signed * (0.5 * node))
            value = torch.exp((2 * minus_x) / (1 / tangent - 1) + first * node)
        else:
            v = signed * node
            value = _exp_remainder(v).mul_(minus_x).add_(slope * v).exp_()
        return [value] + [value * node**k for k in powers[1:]]

    sums = weighted_sums(terms, rule.points, x)
    width = signed.abs()
    return [total * width ** (k + 1) for k, total in zip(powers, sums, strict=True)]


def _exp_remainder(v: Tensor) -> Tensor:
    """e^v - 1 - v for |v| < 8 to relative precision, by Taylor's series.

    Eager float32 code, for which `where` is slow, takes it at v/8 and doubles three times without cancellation.
    """
    if not traced(v):
        w = v * 0.125
        g = (w * w).mul_(_polynomial(w, [1 / math.factorial(k + 2) for k in range(6)]))
        for _ in range(3):
            s = w + g
            g = (g + g).addcmul_(s, s)
            w = w + w
        return g
    reach, count = (0.06, 7) if v.dtype == torch.float64 else (0.5, 6)
    near = v.clamp(-reach, reach)
    series = near * near * _polynomial(near, [1 / math.factorial(k + 2) for k in range(count)])
    return torch.where(near == v, series, torch.exp(v) - 1 - v)


def _recurrence(a: Tensor, x: Tensor, order: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The first SHIFT terms t_k = x^k / ((a+1)...(a+k)) of the lower series (DLMF 8.11.4) and their derivatives.

    Returns their sums weighted by 1, by h_k, by h_k^2 + g_k, with h_k = sum 1/(a+j), g_k = sum 1/(a+j)^2 over j <= k;
    then the factor of the remainder, t_SHIFT = factor * P(a + SHIFT) / D(a + SHIFT), and its h and g.
    """
    # Only small `a` with x <= max(a, 1) is used: bounded arguments keep the other elements finite.
    a, x = a.clamp_max(SHIFT), x.clamp_max(SHIFT)
    t, total = torch.ones_like(a), torch.ones_like(a)
    h, g, first, second = (torch.zeros_like(a) for _ in range(4))
    for k in range(1, SHIFT):
        y = 1 / (a + k)
        t = t * x * y
        total = total + t
        if order > 0:
            h = h + y
            g = g + y * y
            first = first + t * h
            second = second + t * (h * h + g)
    return total, first, second, t * x / (a + SHIFT), h, g


def _polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def _rule(dtype: torch.dtype, order: int) -> Rule:
    if dtype == torch.float64:
        return DOUBLE if order == 0 else DOUBLE_MOMENTS
    return SINGLE if order == 0 else SINGLE_MOMENTS


def _make_rule(count: int, cut: float) -> Rule:
    """Gauss-Legendre after u = y (0.7 + 0.3 y), which brings the nodes closer to where the integrand is largest."""
    points, weights = numpy.polynomial.legendre.leggauss(count)
    y = (points + 1) / 2
    nodes = y * (0.7 + 0.3 * y)
    return Rule(tuple(zip(nodes.tolist(), (weights / 2 * (0.7 + 0.6 * y)).tolist(), strict=True)), cut)


DOUBLE, DOUBLE_MOMENTS = _make_rule(18, 25.0), _make_rule(20, 28.0)
SINGLE, SINGLE_MOMENTS = _make_rule(8, 12.0), _make_rule(9, 14.0)
