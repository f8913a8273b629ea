"""The real branches of Lambert's W function, accurate up to the point where they meet."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import Values, elementwise


def lambertw(x: Tensor, branch: int = 0) -> Tensor:
    r"""Lambert's W function, which solves $w e^w = x$.

    Args:
        x: At least -1/e; on branch -1 also at most 0.
        branch: 0 for the solution of at least -1, -1 for that of at most -1.

    Returns:
        The solution, of the same shape; NaN outside the domain. The derivative is infinite at -1/e.

    Raises:
        ValueError: `branch` is neither 0 nor -1: W is complex on the others.

    Source: Corless, Gonnet, Hare, Jeffrey and Knuth (1996), On the Lambert W Function, equation 4.22 near -1/e;
    elsewhere the iteration of Fritsch, Shafer and Crowley (1973), Algorithm 443.

    Example:
        >>> lambertw(torch.tensor([-0.2, 0.0, 1.0])), lambertw(torch.tensor([-0.2]), branch=-1)
        (tensor([-0.2592,  0.0000,  0.5671]), tensor([-2.5426]))
    """
    if branch not in (0, -1):
        raise ValueError(f"branch of lambertw must be 0 or -1, the real ones, not {branch!r}.")
    return _principal(x) if branch == 0 else _lower(x)


def _branch(sign: float) -> Values:
    @elementwise(lambda x, value: -value.square() * (1 + 1 / _solution(x, sign)[1]))
    def slope(x: Tensor) -> Tensor:
        _, height = _solution(x, sign)
        return torch.where(
            height == 0, sign * math.inf, torch.where(height == -math.inf, height, (1 - height).exp() / height)
        )

    @elementwise(lambda x, value: slope(x))
    def lambertw(x: Tensor) -> Tensor:
        return _solution(x, sign)[0]

    return lambertw


def _solution(x: Tensor, sign: float) -> tuple[Tensor, Tensor]:
    """W and 1 + W, where the sign of 1 + W tells the branch."""
    # 1 / e in two parts. What its rounding is beyond counts as the branch point.
    double = x.dtype == torch.float64
    first, second = (0.36787944117144233, -1.2428753672788363e-17) if double else (0.3678794503211975, -9.149755e-09)
    distance = ((x + first) + second).clamp(min=0)
    root = sign * (2 * math.e * distance).sqrt()
    near = root.abs() < 0.25
    series = torch.zeros_like(x)
    for coefficient in reversed(_SERIES):
        series = (series + coefficient) * root
    safe = torch.where(near | (x == 0) | (x == math.inf), 1.0 if sign > 0 else -0.1, x)
    start = _start_above(safe) if sign > 0 else _start_below(safe, series)
    w = torch.where(near, 1.0 if sign > 0 else -3.0, start)
    for _ in range(_NUM_STEPS):
        z = (safe / w).log() - w
        q = 2 * (1 + w) * (1 + w + 2 / 3 * z)
        w = w * (1 + z / (1 + w) * (q - z) / (q - 2 * z))
    if sign > 0:
        w = torch.where((x == 0) | (x == math.inf), x, w)
        inside = x >= -first
    else:
        w = torch.where(x == 0, -math.inf, w)
        inside = (x >= -first) & (x <= 0)
    w, height = torch.where(near, series - 1, w), torch.where(near, series, 1 + w)
    return torch.where(inside, w, math.nan), torch.where(inside, height, math.nan)


def _start_above(x: Tensor) -> Tensor:
    logarithm = x.clamp(min=2).log()
    return torch.where(x > 6, logarithm - logarithm.log(), x * (1 + 4 / 3 * x) / (1 + x * (7 / 3 + 5 / 6 * x)))


def _start_below(x: Tensor, series: Tensor) -> Tensor:
    first = (-x).log()
    second = (-first).log()
    return torch.where(x < -0.25, series - 1, first - second + second / first)


def _series(num_terms: int) -> list[float]:
    """The coefficients of 1 + W in the signed root of 2 (e x + 1), from the first power up."""
    mu, alpha = [-1.0, 1.0], [2.0, -1.0]
    for k in range(2, num_terms + 1):
        alpha.append(sum(mu[j] * mu[k + 1 - j] for j in range(2, k)))
        mu.append((k - 1) / (k + 1) * (mu[k - 2] / 2 + alpha[k - 2] / 4) - alpha[k] / 2 - mu[k - 1] / (k + 1))
    return mu[1:]


_SERIES = _series(20)
_NUM_STEPS = 3
_principal, _lower = _branch(1.0), _branch(-1.0)
