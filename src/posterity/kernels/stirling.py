"""The gamma function's logarithm beside Stirling's formula: what is left of it after large terms have cancelled."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_LARGE = 8.0
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


@elementwise(lambda x, value: 0.5 / x - log_minus_digamma(x))
def stirling_error(x: Tensor) -> Tensor:
    r"""$\log\Gamma(x) - ((x - 1/2) \log x - x + \log(2 \pi) / 2)$, which falls to zero like $1 / 12 x$.

    Args:
        x: Positive.

    Source: DLMF 5.11.1.

    Example:
        >>> stirling_error(torch.tensor([1.0, 1e6]))
        tensor([8.1061e-02, 8.3333e-08])
    """
    low, high = x.clamp(max=_LARGE), x.clamp(min=_LARGE)
    below = torch.lgamma(low) - ((low - 0.5) * low.log() - low + HALF_LOG_TAU)
    return torch.where(x < _LARGE, below, _series(high, [b / (2 * k * (2 * k - 1)) for k, b in _numbered()]) / high)


@elementwise(lambda x, value: -trigamma_excess(x))
def log_minus_digamma(x: Tensor) -> Tensor:
    r"""$\log x - \psi(x)$, which falls to zero like $1 / 2 x$.

    Args:
        x: Positive.

    Source: DLMF 5.11.2.

    Example:
        >>> log_minus_digamma(torch.tensor([1.0, 1e6]))
        tensor([5.7722e-01, 5.0000e-07])
    """
    low, high = x.clamp(max=_LARGE), x.clamp(min=_LARGE)
    above = 0.5 / high + _series(high, [b / (2 * k) for k, b in _numbered()]) / high / high
    return torch.where(x < _LARGE, low.log() - torch.digamma(low), above)


@elementwise(lambda x, value: torch.polygamma(2, x) + 1 / (x * x))
def trigamma_excess(x: Tensor) -> Tensor:
    r"""$\psi'(x) - 1 / x$, which falls to zero like $1 / 2 x^2$.

    Args:
        x: Positive.

    Source: DLMF 5.15.8, and 5.15.5 below the reach of its series.

    Example:
        >>> trigamma_excess(torch.tensor([1.0, 1e6]))
        tensor([6.4493e-01, 5.0000e-13])
    """
    # By steps of 1 up to where the series is exact; each adds 1 / x^2 - 1 / x + 1 / (x + 1).
    below = torch.zeros_like(x)
    low = x.clamp(max=_LARGE)
    for k in range(int(_LARGE)):
        below = below + 1 / (low + k) / (low + k) / (low + (k + 1))
    high = torch.where(x < _LARGE, low + _LARGE, x)
    above = (0.5 + _series(high, [b for _, b in _numbered()]) / high) / high / high
    return torch.where(x < _LARGE, below + above, above)


def lgamma_excess(p: Tensor, q: Tensor) -> Tensor:
    r"""How far $\log\Gamma(q)$ lies above its tangent at p, $\log\Gamma(q) - \log\Gamma(p) - (q - p) \psi(p)$.

    It is what gamma functions contribute to KL divergences; nothing of size log Gamma cancels in it.

    Args:
        p: Positive; where the tangent touches.
        q: Positive; broadcasts with `p`.

    Example:
        >>> lgamma_excess(torch.tensor(1e6), torch.tensor(1.001e6))
        tensor(0.4999)
    """
    change = (q - p) / p
    log_ratio = torch.where(change.abs() < 0.5, torch.log1p(change.clamp(-0.5, 0.5)), q.log() - p.log())
    leading = p * ((1 + change) * log_ratio - change) + 0.5 * (change - log_ratio)
    return leading + stirling_error(q) - stirling_error(p) - change * (0.5 - p * log_minus_digamma(p))


def _numbered() -> enumerate[float]:
    return enumerate(_BERNOULLI, 1)


def _series(x: Tensor, coefficients: list[float]) -> Tensor:
    inverse = 1 / (x * x)
    result = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        result = result * inverse + coefficient
    return result
