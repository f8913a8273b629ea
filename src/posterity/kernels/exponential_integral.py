"""The exponential integral E1, scaled by its exponential so that it neither underflows nor overflows."""

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise

_EULER = 0.57721566490153286061
# Below it the power series, whose terms then cancel by less than a digit; above it the continued fraction.
_SWITCH = 1.25
_SERIES_TERMS, _FRACTION_TERMS = 22, 80


@elementwise(lambda x, value: -_decline(x))
def exp1e(x: Tensor) -> Tensor:
    r"""The scaled exponential integral $e^x E_1(x) = e^x \int_x^\infty e^{-t} / t \, dt$.

    Args:
        x: At least 0.

    Returns:
        The function, of the same shape, falling from inf at 0 to 0 like 1 / x; NaN below 0. The relative error is a
        few roundings. Twice differentiable.

    Raises:
        TypeError: `x` is no real tensor.
        NotImplementedError: A third derivative is asked for.

    Source: DLMF 6.6.2 (power series) and 8.19.17 (continued fraction, contracted).

    Example:
        >>> exp1e(torch.tensor([1e-10, 1.0, 1e10]))
        tensor([2.2449e+01, 5.9635e-01, 1.0000e-10])
    """
    return _scaled(x, 1)


@elementwise(lambda x, value: -_decline(x) / exp1e(x))
def log_exp1e(x: Tensor) -> Tensor:
    """The logarithm of `exp1e(x)`, whose derivatives stay finite where that underflows.

    Example:
        >>> log_exp1e(torch.tensor([1.0, 1e30]))
        tensor([ -0.5169, -69.0776])
    """
    return _scaled(x, 1).log()


@elementwise(lambda x, value: -_second_decline(x))
def _decline(x: Tensor) -> Tensor:
    """1 / x - exp1e(x), that is e^x E_2(x) / x."""
    return _scaled(x, 2) / x


def _refused(*_: Tensor) -> Tensor:
    raise NotImplementedError("exp1e and log_exp1e have two derivatives; a third was asked for.")


@elementwise(_refused)
def _second_decline(x: Tensor) -> Tensor:
    """1 / x^2 - 1 / x + exp1e(x), that is 2 e^x E_3(x) / x^2."""
    return 2 * _scaled(x, 3) / x / x


def _scaled(x: Tensor, order: int) -> Tensor:
    """e^x E_order(x)."""
    low, high = x.clamp(max=_SWITCH), x.clamp(min=_SWITCH)
    series = torch.zeros_like(x)
    for k in range(_SERIES_TERMS, 1, -1):
        series = (1 / k - series) * (low / k)
    # The sum over k of (-1)^(k+1) x^k / (k k!), in Horner's form: x (1 - x/2 (1/2 - x/3 (1/3 - ...))).
    below = (low * (1 - series) - _EULER - low.log()) * low.exp()
    for n in range(1, order):
        below = torch.where(low == 0, 1.0, 1 - low * below) / n
    fraction = torch.zeros_like(x)
    for k in range(_FRACTION_TERMS, 0, -1):
        fraction = k * (k + order - 1) / (high + (order + 2 * k) - fraction)
    above = 1 / (high + order - fraction)
    return torch.where(x < _SWITCH, below, torch.where(x.isnan(), x, above))
