"""The Box-Cox map and its inverse, smooth where their power goes through zero: what extreme values are made of."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.reading import readable, records_gradient
from posterity.kernels.tracing import expm1

_LOG_TERMS, _EXP_TERMS = 40, 18


def log1p_over(power: Tensor, x: Tensor) -> Tensor:
    r"""$\log(1 + power \cdot x) / power$, which is x where the power is 0: minus the log survival of a Pareto excess.

    Args:
        power: Any real values; broadcasts with `x`.
        x: Where `1 + power * x` is at least 0; NaN beyond.

    Returns:
        Tensor of the broadcast shape, twice differentiable.

    Source: Box and Cox (1964), An analysis of transformations.

    Example:
        >>> log1p_over(torch.tensor([-0.5, 0.0, 1.0]), 1.0)
        tensor([1.3863, 1.0000, 0.6931])
    """
    if _is_simple(power, x):
        return torch.log1p(power * x).div_(power)
    return _log1p_over(power, x)


def expm1_over(power: Tensor, y: Tensor) -> Tensor:
    r"""The inverse of `log1p_over` in its second argument, $(e^{power \cdot y} - 1) / power$.

    Example:
        >>> expm1_over(torch.tensor([-0.5, 0.0, 1.0]), 1.0)
        tensor([0.7869, 1.0000, 1.7183])
    """
    if _is_simple(power, y):
        return torch.expm1(power * y).div_(power)
    return _expm1_over(power, y)


def _is_simple(power: Tensor, x: Tensor) -> bool:
    """Whether the formula serves as it stands: no power is 0, and nothing asks for gradients."""
    return readable(power, x) and not records_gradient(power, x) and bool(power.all())


@elementwise(
    lambda power, x, value: _log_slope(power, x),
    lambda power, x, value: 1 / (1 + power * x),
)
def _log1p_over(power: Tensor, x: Tensor) -> Tensor:
    return torch.where(power == 0, x, torch.log1p(power * x) / torch.where(power == 0, 1.0, power))


@elementwise(
    lambda power, y, value: y * y * _exp_bend(power * y),
    lambda power, y, value: torch.exp(power * y),
)
def _expm1_over(power: Tensor, y: Tensor) -> Tensor:
    return torch.where(power == 0, y, expm1(power * y) / torch.where(power == 0, 1.0, power))


def _log_slope(power: Tensor, x: Tensor) -> Tensor:
    """The derivative of log(1 + power x) / power in the power."""
    near, _, far = _split(power * x, 1.0)
    inner, large = torch.where(near, x, 0), torch.where(near, 1, power)
    # The square of a large x overflows.
    beyond = (1 - 1 / (1 + far) - torch.log1p(far)) / large / large
    return torch.where(near, inner * inner * _log_bend(power * inner), beyond)


@elementwise(lambda w, value: _log_bend_slope(w))
def _log_bend(w: Tensor) -> Tensor:
    """(w / (1 + w) - log(1 + w)) / w^2."""
    near, small, far = _split(w, 0.4)
    series = torch.zeros_like(w)
    for n in range(_LOG_TERMS, -1, -1):
        series = series * small + (-1) ** (n + 1) * (n + 1) / (n + 2)
    return torch.where(near, series, (far / (1 + far) - torch.log1p(far)) / far / far)


def _refused(*_: Tensor) -> Tensor:
    raise NotImplementedError("log1p_over and expm1_over have two derivatives in their power; a third was asked for.")


@elementwise(_refused)
def _log_bend_slope(w: Tensor) -> Tensor:
    near, small, far = _split(w, 0.4)
    series = torch.zeros_like(w)
    for n in range(_LOG_TERMS, 0, -1):
        series = series * small + (-1) ** (n + 1) * n * (n + 1) / (n + 2)
    bend = (far / (1 + far) - torch.log1p(far)) / far / far
    return torch.where(near, series, -((1 + far) ** -2 + 2 * bend) / far)


@elementwise(lambda w, value: _exp_bend_slope(w))
def _exp_bend(w: Tensor) -> Tensor:
    """(w e^w - e^w + 1) / w^2."""
    near, small, far = _split(w, 1.0)
    series = torch.zeros_like(w)
    for n in range(_EXP_TERMS, -1, -1):
        series = series * small + 1 / (math.factorial(n) * (n + 2))
    return torch.where(near, series, (far * far.exp() - torch.expm1(far)) / far / far)


@elementwise(_refused)
def _exp_bend_slope(w: Tensor) -> Tensor:
    near, small, far = _split(w, 1.0)
    series = torch.zeros_like(w)
    for n in range(_EXP_TERMS, 0, -1):
        series = series * small + n / (math.factorial(n) * (n + 2))
    bend = (far * far.exp() - torch.expm1(far)) / far / far
    return torch.where(near, series, (far.exp() - 2 * bend) / far)


def _split(w: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor]:
    near = w.abs() < limit
    return near, torch.where(near, w, 0.0), torch.where(near, 1.0, w)
