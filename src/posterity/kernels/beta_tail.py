"""The smaller tail of a beta distribution as a log prefactor times a sum of positive terms, with derivatives.

Ten terms of a series raise `a`, and Gauss-Legendre quadrature in the log-odds, where the density is log-concave
whatever `a` and `b`, gives the rest: the same work for every argument.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from posterity.kernels.tracing import expm1, once, traced, weighted_sums

RAISED = 10
# Smaller arguments are taken as this one, so that logarithms and their products stay finite.
SMALLEST = 1e-300
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


class Tail(NamedTuple):
    """`I_x(a, b) = exp(log_prefactor) * total`, with derivatives of `log I` by `(a, b)` as far as asked for.

    `gradient` holds the derivatives by a and b, `hessian` those by aa, ab and bb.
    """

    log_prefactor: Tensor
    total: Tensor
    gradient: tuple[Tensor, ...] = ()
    hessian: tuple[Tensor, ...] = ()


def legendre(number: int) -> list[tuple[float, float]]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(number)
    return list(zip((0.5 + 0.5 * nodes).tolist(), (0.5 * weights).tolist(), strict=True))


class Rule(NamedTuple):
    """Nodes with their weights, and the e-folds by which the integrand has fallen where the quadrature ends."""

    points: list[tuple[float, float]]
    fall: float


# To 7e-12 of the tail for parameters from 1e-3 to 1e5, and to 6e-5 of it (1e-5 for those from 0.5 to 50).
FINE, COARSE = Rule(legendre(18), 33.0), Rule(legendre(6), 10.0)


def oriented(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Whether `I_x(a, b)` itself is to be computed, and the arguments `(a, b, x, y)`, swapped where it is not.

    The side is that of the convergence criterion of DLMF 8.17.22, on which neither tail is lost to cancellation.
    """
    direct = x * (a + b + 2) <= a + 1

    def pick(one: Tensor, other: Tensor) -> Tensor:
        return once(torch.where(direct, one, other))

    return direct, (pick(a, b), pick(b, a), pick(x, y), pick(y, x))


def tail(
    a: Tensor, b: Tensor, x: Tensor, y: Tensor, order: int = 0, log_peak: Tensor | None = None, rule: Rule = FINE
) -> Tail:
    r"""The lower tail at x = 1 - y, for oriented arguments, with derivatives up to `order`.

    `log_peak`, where it is known already, is `log_scale(a, b) + log(a)`, which is symmetric in a and b.

    With $n = a + b$ and $P = x^a y^b / (a B(a, b))$, DLMF 8.17.20 applied k times and the substitution
    $t / (1 - t) = e^{-v} x / y$ in DLMF 8.17.1 give $I_x(a, b) = P (\sum_k Q_k + C \int_0^\infty e^h dv)$,
    $Q_k = x^k (n)_k / (a + 1)_k$, $C = Q_{k-1} x (n + k - 1)$ and
    $h(v) = -(a + k) v - (n + k) \log(1 - x (1 - e^{-v}))$.
    """
    n = a + b
    term, total = torch.ones_like(x), torch.ones_like(x)
    series = _Moments(x, order)
    series.add(term, (torch.zeros_like(x),) * 5)
    logs = _SeriesLogs(x)
    for k in range(1, RAISED):
        term = term * (x * ((n + (k - 1)) / (a + k)))
        total = total + term
        if order:
            logs.advance(1 / (n + (k - 1)), 1 / (a + k))
            series.add(term, logs.values())
    factor = term * x * (n + (RAISED - 1))
    if order:
        inverse = 1 / (n + (RAISED - 1))
        logs.advance(inverse, torch.zeros_like(inverse))

    # Near either end of x the form that subtracts nothing: in 1 - x (1 - e^-v), or in e^v (1 - x (1 - e^-v)).
    left = x < y
    small = torch.minimum(x, y)
    rate, power = once(torch.where(left, a + RAISED, b)), n + RAISED
    width = once(_width(a, b, x, y, rate, power, rule.fall))
    rate_width = rate * width

    def terms(node: float | Tensor) -> list[Tensor]:
        if not order and traced(x):
            # e^v - 1 as tanh(v / 2) (e^v + 1). What is short, with no long value used twice, is fused with its sum;
            # anything else is stored for all nodes first.
            rise = torch.tanh(width * (0.5 * node)) * (torch.exp(width * node) + 1)
            return [torch.exp(rate_width * node - power * torch.log1p(small * rise))]
        stretched = width * node
        log = torch.log1p(small * expm1(stretched))
        value = (rate_width * node).sub_(power * log).exp_()
        if not order:
            return [value]
        by_a, by_b = torch.where(left, stretched - log, -log), torch.where(left, -log, stretched - log)
        log_a, log_b, *curvatures = logs.values()
        moments = _Moments(x, order)
        moments.add(value, (log_a + by_a, log_b + by_b, *curvatures))
        return [value, *moments.sums]

    integral, *moments = weighted_sums(terms, rule.points, x)
    scale = factor * width.abs()
    scaled = log_scale(a, b) if log_peak is None else log_peak - torch.log(a)
    result = Tail(_exponent(a, b, x, y) + scaled, total + scale * integral)
    if not order:
        return result
    means = [(s + scale * q) / result.total for s, q in zip(series.sums, moments, strict=True)]
    psi = torch.digamma(n)
    gradient = (
        torch.log(x) + psi - torch.digamma(a + 1) + means[0],
        torch.log(y) + psi - torch.digamma(b) + means[1],
    )
    if order == 1:
        return result._replace(gradient=gradient)
    slope = torch.polygamma(1, n)
    hessian = (
        slope - torch.polygamma(1, a + 1) + means[2] - means[0] * means[0],
        slope + means[3] - means[0] * means[1],
        slope - torch.polygamma(1, b) + means[4] - means[1] * means[1],
    )
    return result._replace(gradient=gradient, hessian=hessian)


def log_prefactor(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    r"""$\log(x^a y^b / (a B(a, b)))$ by Loader's saddle point, without differences of large logarithms.

    Source: Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    return _exponent(a, b, x, y) + log_scale(a, b)


def _exponent(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """What x adds to `log_prefactor` where it is not the mean."""
    n = a + b
    residual = x * b - y * a
    return _deviance(a, residual / a, x * (n / a)) + _deviance(b, -residual / b, y * (n / b))


def log_scale(a: Tensor, b: Tensor) -> Tensor:
    """`log_prefactor` where x is the mean `a / (a + b)`."""
    n = a + b
    return 0.5 * torch.log(b / a / n * (0.5 / math.pi)) + (_stirling(n) - _stirling(a) - _stirling(b))


def _deviance(count: Tensor, relative: Tensor, ratio: Tensor) -> Tensor:
    near = torch.log1p(relative.clamp(min=-0.75))
    return count * torch.where(relative.abs() < 0.5, near, torch.log(ratio))


def _stirling(z: Tensor) -> Tensor:
    """The error of Stirling's formula (DLMF 5.11.1), for small z by ten steps of the recurrence."""
    is_small = z < 10
    shifted = once(torch.where(is_small, z + 10, z))
    inverse = once(1 / shifted)
    square = inverse * inverse
    series = torch.full_like(z, _STIRLING[-1])
    for coefficient in _STIRLING[-2::-1]:
        series = series * square + coefficient
    series = series * inverse
    low = once(z.clamp(max=10.0))
    product = low
    for k in range(1, 10):
        product = product * (low + k)
    small = series + (shifted - 0.5) * torch.log(shifted) - 10 - torch.log(product) - (z - 0.5) * torch.log(z)
    return torch.where(is_small, small, series)


def _width(a: Tensor, b: Tensor, x: Tensor, y: Tensor, rate: Tensor, power: Tensor, fall: float) -> Tensor:
    """Where the integrand has fallen by `fall` e-folds, signed: negative in the form for x < y."""
    left = x < y
    small = torch.minimum(x, y)
    slope = (y * a - x * b) + RAISED * y
    width = 2 * fall / (slope + torch.sqrt(slope * slope + 2 * fall * power * x * y))
    steep = torch.log1p(expm1(((fall + b * width) / power).clamp(max=50.0)) / y)
    width = once(torch.where(left, -width, torch.minimum(width, steep)))
    # The logarithm of the integrand is concave, so that one Newton step never falls short.
    rise = expm1(width)
    height = rate * width - power * torch.log1p(small * rise) + fall
    return width - height / (rate - power * small * (rise + 1) / (1 + small * rise))


class _SeriesLogs:
    """Derivatives by a, b, aa, ab and bb of the logarithm of a term of the series."""

    def __init__(self, like: Tensor) -> None:
        self._sums = (torch.zeros_like(like),) * 4

    def advance(self, above: Tensor, below: Tensor) -> None:
        a, b, aa, bb = self._sums
        self._sums = (a + (above - below), b + above, aa + (below * below - above * above), bb - above * above)

    def values(self) -> tuple[Tensor, ...]:
        a, b, aa, bb = self._sums
        return a, b, aa, bb, bb


class _Moments:
    """Sums of derivatives by a, b, aa, ab and bb over terms that are given with those of their logarithms."""

    def __init__(self, like: Tensor, order: int) -> None:
        self.sums = [torch.zeros_like(like)] * (0, 2, 5)[order]

    def add(self, value: Tensor, logs: tuple[Tensor, ...]) -> None:
        if not self.sums:
            return
        a, b, aa, ab, bb = logs
        terms = (a, b, a * a + aa, a * b + ab, b * b + bb)
        self.sums = [s + value * t for s, t in zip(self.sums, terms, strict=False)]
