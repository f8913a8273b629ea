"""Logarithms of differences of exponentials, with their digits kept where the difference is small."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.tracing import expm1


@elementwise(lambda x, value: -value * (1 + value))
def _reciprocal_expm1(x: Tensor) -> Tensor:
    return 1 / expm1(x)


@elementwise(lambda x, value: _reciprocal_expm1(x))
def log1mexp(x: Tensor) -> Tensor:
    r"""The logarithm of one minus a probability from the negated logarithm of the probability, $\log(1 - e^{-x})$.

    Args:
        x: At least 0: minus the logarithm of a probability, as in R and JAX.

    Returns:
        The logarithm, of the same shape; -inf at 0, and NaN below.

    Source: Mächler (2012), Accurately Computing log(1 - exp(-|a|)).

    Example:
        >>> log1mexp(torch.tensor([1e-20, 0.6931472, 20.0]))
        tensor([-4.6052e+01, -6.9315e-01, -2.0612e-09])
    """
    # The sum of both forms, each held at its value for 1/2 on the other's side: on the CPU a selection of many elements
    # costs more than two logarithms.
    probability, complement = (-x).exp(), -expm1(-x)
    return torch.log1p(-probability.clamp(max=0.5)) + (2 * complement.clamp(max=0.5)).log()


@elementwise(
    lambda a, b, value: 1 + _reciprocal_expm1(_gap(a, b)),
    lambda a, b, value: -_reciprocal_expm1(_gap(a, b)),
)
def logsubexp(a: Tensor, b: Tensor) -> Tensor:
    r"""The logarithm of a difference of exponentials, $\log(e^a - e^b)$.

    Args:
        a: Logarithm of what is subtracted from.
        b: Logarithm of what is subtracted, at most `a`; -inf subtracts nothing.

    Returns:
        The logarithm, of the broadcast shape; -inf where a = b, and NaN where a < b. Its error is that of rounding
        `a`. The derivatives are infinite where a = b is finite.

    Example:
        >>> logsubexp(torch.tensor([1000.0, 0.0]), torch.tensor([999.0, -torch.inf]))
        tensor([999.5413,   0.0000])
    """
    result = a + log1mexp(_gap(a, b))
    return torch.where((a == -math.inf) & (b == -math.inf), -math.inf, result)


def _gap(a: Tensor, b: Tensor) -> Tensor:
    # Nothing is subtracted where b = -inf, be a what it may.
    return torch.where(b == -math.inf, math.inf, a - b)


@elementwise(lambda x, value: 1 + _reciprocal_expm1(x))
def log_expm1(x: Tensor) -> Tensor:
    r"""The inverse of softplus, $\log(e^x - 1)$.

    Args:
        x: At least 0.

    Returns:
        The logarithm, of the same shape; -inf at 0, and NaN below.

    Example:
        >>> log_expm1(torch.tensor([1e-10, 1.0, 100.0]))
        tensor([-23.0259,   0.5413, 100.0000])
    """
    # Around its zero, log 2, here in two parts of which the first has few digits, e^x - 1 = 1 + 2 (e^d - 1).
    d = ((x - 0.693145751953125) - 1.4286068203094173e-06).clamp(-0.25, 0.25)
    middle = torch.log1p(2 * expm1(d))
    outside = torch.where(x < 1, expm1(x.clamp(max=1)).log(), x + torch.log1p(-(-x).exp()))
    return torch.where((x - math.log(2)).abs() < 0.2, middle, outside)


@elementwise(lambda x, start, value: 1 / x, lambda x, start, value: -1 / start)
def log_growth(x: Tensor, start: Tensor) -> Tensor:
    r"""The logarithm of how many times a start has grown, $\log(x / start)$, where the ratio itself may overflow.

    Args:
        x: At least `start`.
        start: Positive.

    Returns:
        The logarithm, of the broadcast shape, with its digits for `x` close to `start` too.

    Example:
        >>> log_growth(torch.tensor([1.0000001, 3e38]), 1.0), log_growth(torch.tensor(3e38), 1e-38)
        (tensor([1.1921e-07, 8.8597e+01]), tensor(176.0951))
    """
    # Up to twice the start the second term is 0; beyond, the first is log 2.
    near = torch.log1p(((x - start) / start).clamp(max=1))
    return near + (torch.maximum(0.5 * x, start).log() - start.log())
