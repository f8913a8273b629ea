"""Quantiles from a cdf: halving between ordered floating-point numbers, or doubling steps over the integers.

The number of steps is fixed, so that both work inside compiled graphs and under `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posterity.distributions.supports import support_ends
from posterity.kernels.samplers.noise import is_eager

if TYPE_CHECKING:
    from posterity.distributions.base import Distribution

_NEWTON_STEPS = 16
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def continuous_quantile(d: Distribution, level: Tensor) -> Tensor:
    """The value below which lies the probability `level`, to the last bit that the cdf resolves.

    Between the ends of the support the ordered floating-point numbers are halved (64 times in float64). Above one
    half the survival function is compared, which keeps the digits that the cdf has lost. Gradients come from the
    implicit function theorem.
    """
    with torch.no_grad():
        lower, upper = (end.expand(torch.broadcast_shapes(level.shape, end.shape)) for end in support_ends(d))
        largest = torch.finfo(lower.dtype).max
        integer = _INTEGERS[lower.element_size()]
        left = _ordered(lower.clamp(min=-largest), integer)
        right = _ordered(upper.clamp(max=largest), integer)
        for _ in range(8 * lower.element_size()):
            # The mean of two integers, without their sum, which might overflow.
            middle = (left & right) + ((left ^ right) >> 1)
            x = _unordered(middle, lower.dtype)
            short = torch.where(level < 0.5, d.cdf(x) < level, d.survival_function(x) > 1 - level)
            left, right = torch.where(short, middle, left), torch.where(short, right, middle)
        root = _unordered(right, lower.dtype)
        root = torch.where(level == 0, lower, torch.where(level == 1, upper, root))
    return follow_quantile(d, root, level)


def log_concave_quantile(d: Distribution, level: Tensor) -> Tensor:
    """The value below which lies the probability `level`, for a distribution on the line with a log-concave density.

    Newton's method, on the logarithm of the smaller tail, which is concave too; far out on the root of its negative,
    which for normal tails is a straight line. It begins beyond the root, where a tail of any such distribution with
    this mean and variance ends. Gradients are those of `continuous_quantile`.

    Args:
        d: It has closed forms of the mean, the variance, and the logarithms of both tails.
        level: Probabilities in [0, 1] that broadcast against the batch.

    Source: the bound is lemma 5.7 of Lovász and Vempala, The Geometry of Logconcave Functions and Sampling Algorithms,
    2007.
    """
    with torch.no_grad():
        # The slope is a difference of logarithms, which far out are large.
        wide = d._bare_copy()
        wide._validate_values = False
        for name in d.arg_constraints:
            wide.__dict__[name] = d.__dict__[name].double()
        p = level.double()
        lower = p < 0.5
        smallest = torch.finfo(level.dtype).tiny
        # 1 - level is exact above one half.
        depth = -torch.where(lower, p, 1 - p).clamp(min=smallest).log()
        outwards = torch.where(lower, -1.0, 1.0).double()
        x = wide.mean + outwards * wide.stddev * (1 + depth)
        bound = x
        # After one more step the error is below rounding.
        tolerance = 0.1 * torch.finfo(level.dtype).eps ** 0.5 * (1 + depth)
        for _ in range(_NEWTON_STEPS):
            log_tail = torch.where(lower, wide.log_cdf(x), wide.log_survival_function(x))
            length = outwards * (log_tail - wide.log_prob(x)).exp()
            excess = -log_tail - depth
            straight = x - excess * length
            # A concave function's tangents lead beyond the root, from where it is safe to begin again.
            beyond, far = excess >= 0, excess > depth
            nearest = torch.where(lower, torch.maximum(straight, bound), torch.minimum(straight, bound))
            bound = torch.where(beyond, straight, bound)
            root = torch.where(far, -log_tail, 1).sqrt()
            bent = x - 2 * root * (root - depth.sqrt()) * length
            x = torch.where(far, bent, torch.where(beyond, straight, nearest))
            if is_eager(x) and not bool((excess.abs() > tolerance).any()):
                break
        root = torch.where(level == 0, -torch.inf, torch.where(level == 1, torch.inf, x)).to(level.dtype)
    return follow_quantile(d, root, level)


def follow_quantile(d: Distribution, value: Tensor, level: Tensor | None = None) -> Tensor:
    """`value` with the gradient of the quantile of its own cdf: what makes any draw a reparameterised one.

    Args:
        d: A continuous scalar distribution.
        value: A draw, or a quantile, taken as a constant.
        level: The probability below `value`, if gradients should reach it.

    Source: Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, 2018, equation 5.

    Example:
        >>> from posterity.distributions import Normal
        >>> scale = torch.tensor(2.0, requires_grad=True)
        >>> torch.autograd.grad(follow_quantile(Normal(0.0, scale), torch.tensor(3.0)), scale)
        (tensor(1.5000),)
    """
    value = value.detach()
    inside = value.isfinite()
    anchor = torch.where(inside, value, 0.0 if d.support is None else _somewhere(d))
    density = d.prob(anchor).detach()
    residual = -d.cdf(anchor) if level is None else level - d.cdf(anchor)
    # Newton's step from the root: zero in value, the quantile's derivative by the implicit function theorem.
    step = (residual - residual.detach()) / torch.where(density > 0, density, torch.inf)
    return torch.where(inside, value + step, value)


def integer_quantile(d: Distribution, level: Tensor) -> Tensor:
    """The least integer whose cdf reaches `level`; the ends of the support for the levels 0 and 1."""
    with torch.no_grad():
        lower, upper = support_ends(d)

        def short(k: Tensor) -> Tensor:
            return torch.where(level < 0.5, d.cdf(k) < level, d.survival_function(k) > 1 - level)

        found = least_integer(d, short, torch.broadcast_shapes(level.shape, d.batch_shape))
        return torch.where(level == 0, lower, torch.where(level == 1, upper, found))


def least_integer(d: Distribution, short: Callable[[Tensor], Tensor], shape: torch.Size | None = None) -> Tensor:
    """The least integer of the support at which `short`, true up to some point and false beyond it, is false."""
    lower, upper = (end if shape is None else end.expand(shape) for end in support_ends(d))
    digits = {torch.float64: 52, torch.float32: 23}.get(lower.dtype, 10)
    below = torch.where(lower.isfinite(), lower - 1, -(2.0**digits))
    for power in range(digits, -1, -1):
        trial = below + 2.0**power
        inside = trial <= upper
        go = inside & short(trial.minimum(upper))
        below = torch.where(go, trial, below)
    return (below + 1).minimum(upper)


def _somewhere(d: Distribution) -> Tensor:
    lower, upper = support_ends(d)
    between = lower.clamp(min=-1).lerp(upper.clamp(max=1), 0.5)
    above = torch.where(lower.isfinite(), lower + 1, upper - 1)
    return torch.where(
        lower.isfinite() & upper.isfinite(),
        lower.lerp(upper, 0.5),
        torch.where(lower.isfinite() | upper.isfinite(), above, between),
    )


def _ordered(x: Tensor, integer: torch.dtype) -> Tensor:
    """Floating-point numbers as integers of the same order (a sign and a magnitude, not two's complement)."""
    bits = x.contiguous().view(integer)
    return torch.where(bits < 0, torch.iinfo(integer).min - bits, bits)


def _unordered(bits: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(bits < 0, torch.iinfo(bits.dtype).min - bits, bits).view(dtype)
