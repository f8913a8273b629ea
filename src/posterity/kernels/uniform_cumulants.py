"""The cumulant generating function of a uniform variable on [0, 1] and its derivatives, smooth at zero."""

import math

import torch
from torch import Tensor

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


def uniform_cgf(t: Tensor) -> Tensor:
    r"""$\log E[e^{t U}] = \log((e^t - 1) / t)$ for U uniform on [0, 1].

    Args:
        t: Any real values.

    Source: DLMF 24.2.1, integrated: the even coefficients are Bernoulli numbers.

    Example:
        >>> uniform_cgf(torch.tensor([-1e3, 0.0, 1e-4, 1e3]))
        tensor([-6.9078e+00,  0.0000e+00,  5.0000e-05,  9.9309e+02])
    """
    near, small, far = _split(t)
    series = 0.5 * small + _even(small, [b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)]) * small.square()
    size = far.abs()
    return torch.where(near, series, far.clamp(min=0) + (-torch.expm1(-size)).log() - size.log())


def uniform_tilted_mean(t: Tensor) -> Tensor:
    """The derivative of `uniform_cgf`: the mean of the density on [0, 1] proportional to `exp(t x)`."""
    near, small, far = _split(t)
    series = 0.5 + _even(small, list(_BERNOULLI)) * small
    size = far.abs()
    # The distance from the end where the density is highest.
    distance = 1 / size + (-size).exp() / torch.expm1(-size)
    return torch.where(near, series, torch.where(far > 0, 1 - distance, distance))


def uniform_tilted_variance(t: Tensor) -> Tensor:
    """The second derivative of `uniform_cgf`: the variance of the density on [0, 1] proportional to `exp(t x)`."""
    near, small, far = _split(t)
    series = _even(small, [b * (2 * k - 1) for k, b in enumerate(_BERNOULLI, 1)])
    size = far.abs()
    return torch.where(near, series, size**-2 - (-size).exp() * torch.expm1(-size) ** -2)


def _split(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    near = t.abs() < 1
    return near, torch.where(near, t, 0.0), torch.where(near, 1.0, t)


def _even(t: Tensor, coefficients: list[float]) -> Tensor:
    """The sum over k of coefficient_k t^(2k - 2) / (2k)!."""
    square = t.square()
    result = torch.zeros_like(t)
    for k in range(len(coefficients), 0, -1):
        result = result * square + coefficients[k - 1] / math.factorial(2 * k)
    return result
