"""The upper tail of the gamma distribution for a concentration below 1, where it is a small difference from 1.

Leans on torch alone.
"""

import math

import torch
from torch import Tensor

from posterity.kernels.tracing import expm1, traced

# Least-maximum polynomial of log(Gamma(1 + a)) / a on [0, 1], ascending, error 1.5e-14.
LOG_GAMMA = (
    -0.5772156649015182,
    0.8224670334156522,
    -0.4006856335677023,
    0.2705807768494019,
    -0.2073849053100808,
    0.16954909781692765,
    -0.14398255011108832,
    0.12511430360660122,
    -0.10963539034150363,
    0.0946029059314887,
    -0.07726129331742126,
    0.05655917537984634,
    -0.03484474611123792,
    0.01685396873593264,
    -0.005881671439794719,
    0.001300214720790331,
    -0.0001356213563013159,
)


def small_upper(a: Tensor, x: Tensor) -> Tensor:
    """Q(a, x) for a < 1 and x <= 1, to relative precision (meaningless elsewhere, but finite).

    From the series of P (DLMF 8.7.1), `Q = -expm1(L) - e^L a S`, with `L = a log x - log Gamma(a + 1)` and
    `S = sum_n (-x)^n / (n! (a + n))`, n >= 1: a difference that loses a factor of four at most.
    """
    a, x = a.clamp_max(1), x.clamp_max(1)
    power = a * (torch.log(x) - log_gamma_ratio(a))
    (series,) = small_series(a, x)
    return -expm1(power) - torch.exp(power) * (a * series)


def small_series(a: Tensor, x: Tensor, order: int = 0) -> list[Tensor]:
    """`S = sum_n (-x)^n / (n! (a + n))`, n >= 1, and its derivatives by log x up to `order`, for 0 <= x <= 1."""
    count = 14 if a.dtype == torch.float64 else 8
    if traced(x):
        column = (-1, *(1 for _ in x.shape))
        n = x.new_tensor(list(range(1, count + 1))).view(column)
        factors = x.new_tensor([(-1) ** k / math.factorial(k) for k in range(1, count + 1)]).view(column)
        terms = factors * torch.exp(n * torch.log(x)) / (a + n)
        return [(terms * n**k).sum(0) for k in range(order + 1)]
    sums = [torch.zeros_like(x)] * (order + 1)
    # Horner's rule from the last term: the coefficient 1/n! is carried by the factor x / n.
    for number in range(count, 0, -1):
        term = 1 / (a + number)
        factor = x * (-1 / number)
        sums = [factor * (number**k * term + s) for k, s in enumerate(sums)]
    return sums


def log_gamma_ratio(a: Tensor) -> Tensor:
    """log(Gamma(1 + a)) / a for 0 <= a <= 1, relatively exact as a goes to zero."""
    value = torch.full_like(a, LOG_GAMMA[-1])
    for coefficient in reversed(LOG_GAMMA[:-1]):
        value = value * a + coefficient
    return value
