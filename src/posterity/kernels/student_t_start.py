"""Where the search for a quantile of Student's t-distribution begins: within a few thousandths, whatever df and p."""

import math

import torch
from torch import Tensor

from posterity.kernels.tracing import expm1, once

# Of the leading term of the tail: below it the tail's series is taken, above it an expansion about the centre.
_FAR = 0.42
# Up to it the central expansion is that in powers of p - 1/2, beyond it that about the normal quantile.
_FEW = 2.0


def quantile_start(df: Tensor, p: Tensor, log_p: Tensor, normaliser: Tensor) -> Tensor:
    r"""About the theta with $P(T > \sqrt{df} \sinh\theta) = p$ for p in (0, 1/2], as a multiple of `sinh(theta)`.

    Args:
        df: Degrees of freedom.
        p: Probability of the upper tail.
        log_p: Its logarithm.
        normaliser: `1 / B(df / 2, 1/2)`.
    """
    log_leading = once((2 / df) * (log_p + torch.log(df / normaliser)))
    far = _far(0.5 * df, log_leading)
    few = _about_the_median(df.clamp(max=_FEW), p, normaliser)
    many = _about_the_normal(df.clamp(min=_FEW), torch.special.ndtri(p))
    return once(torch.where(log_leading < math.log(_FAR), far, torch.where(df < _FEW, few, many)))


def _far(a: Tensor, log_leading: Tensor) -> Tensor:
    r"""The inverse of $p = x^a {}_2F_1(a, 1/2; a + 1; x) / (2 a B(a, 1/2))$, $x = sech^2 \theta$ (DLMF 8.17.7).

    To the third order, as a square, so that it is exact where a = 0.
    """
    leading = once(torch.exp(log_leading))
    first = once(0.5 / (a + 1))
    second = 0.375 / (a + 2) + 0.5 * (1 - a) * first * first
    growth = leading * (0.5 * first + 0.5 * (second - 1.25 * first * first) * leading)
    log_x = once((log_leading - 2 * torch.log1p(growth)).clamp(max=-1e-12))
    return torch.log1p(torch.sqrt(-expm1(log_x))) - 0.5 * log_x


def _about_the_median(df: Tensor, p: Tensor, normaliser: Tensor) -> Tensor:
    r"""The inverse of $(1/2 - p) B(df / 2, 1/2) = \int_0^\theta \cosh^{-df}$ by its series, for few degrees of freedom.

    The terms after the fourth are taken to fall geometrically, as they do next to the singularity at p = 0.
    """
    share = 1 - 2 * p
    u = once(0.5 * share / normaliser)
    square = once(u * u)
    third = df / 6
    fifth = df * (7 * df - 2) / 120
    seventh = df * (16 + df * (127 * df - 82)) / 5040
    rest = seventh / (1 - 0.78 * share * share)
    return u * (1 + square * (third + square * (fifth + square * rest)))


def _about_the_normal(df: Tensor, score: Tensor) -> Tensor:
    """The expansion of Hill (1970), "Algorithm 396: Student's t-quantiles", for at least two degrees of freedom."""
    a = once(1 / (df - 0.5))
    b = once(48 / (a * a))
    square = once(score * score)
    c = once(((20700 * a / b - 98) * a - 16) * a + 96.36)
    d = once(((94.5 / (b + c) - 3) / b + 1) * torch.sqrt(a * (math.pi / 2)) * df)
    c = torch.where(df < 5, c + 0.3 * (df - 4.5) * (score + 0.6), c)
    c = (((0.05 * d * score - 5) * score - 7) * score - 2) * score + b + c
    stretched = once(score * (1 + ((((0.4 * square + 6.3) * square + 36) * square + 94.5) / c - square - 3) / b))
    return torch.asinh(torch.sqrt(expm1(once((a * stretched * stretched).clamp(max=700.0)))))
