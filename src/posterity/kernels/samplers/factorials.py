"""Parts of the Poisson and binomial probabilities that neither overflow nor cancel, also in float32."""

import math

import torch
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def log_factorial_rest(k: Tensor) -> Tensor:
    """What Stirling's formula leaves of log k!: log k! - (k + 1/2) log k + k - log(2 pi) / 2, for k >= 1.

    Source: Loader (2000), "Fast and accurate computation of binomial probabilities"; the series is DLMF 5.11.1.
    """
    few = k.clamp(1, 10)
    direct = torch.lgamma(few + 1) - (few + 0.5) * torch.log(few) + few - _HALF_LOG_2PI
    r = 1 / k.clamp(min=10)
    r2 = r * r
    series = r * (1 / 12 - r2 * (1 / 360 - r2 * (1 / 1260 - r2 * (1 / 1680 - r2 / 1188))))
    return torch.where(k < 10, direct, series)


def deviance(x: Tensor, mean: Tensor) -> Tensor:
    """The term x log(x / mean) + mean - x, for x >= 0 and mean > 0, uncancelled where they are close (Loader's bd0)."""
    v = (x - mean) / (x + mean)
    near = v.clamp(-0.1, 0.1)
    square = near * near
    series = torch.zeros_like(v)
    for j in range(8, 0, -1):
        series = square * (series + 1 / (2 * j + 1))
    # Sum over j >= 1 of v^(2j) / (2j + 1), times 2 x v.
    close = (x - mean) * v + 2 * x * near * series
    far = torch.xlogy(x, x / mean) + mean - x
    return torch.where(v.abs() < 0.1, close, far)


def log_poisson(k: Tensor, rate: Tensor) -> Tensor:
    """Log of the Poisson probability of k >= 0 at a positive rate."""
    above = k.clamp(min=1)
    log_probability = -deviance(above, rate) - log_factorial_rest(above) - 0.5 * torch.log(above) - _HALF_LOG_2PI
    return torch.where(k == 0, -rate, log_probability)
