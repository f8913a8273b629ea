"""The gamma function's logarithm around 1, divided by the powers of its argument that vanish there."""

import torch
from torch import Tensor

from posterity.kernels.box_cox import log1p_over

_ONE_MINUS_EULER = 0.42278433509846713939


def lgamma1p_over(x: Tensor) -> Tensor:
    r"""$\log\Gamma(1 + x) / x$, which is minus Euler's constant at 0.

    Args:
        x: Above -1.

    Source: DLMF 5.7.3.

    Example:
        >>> lgamma1p_over(torch.tensor([-1e-9, 0.0, 2.0]))
        tensor([-0.5772, -0.5772,  0.3466])
    """
    near, small, far = _split(x, 0.5)
    series = torch.zeros_like(x)
    for k in range(len(_ZETA_MINUS_1) + 1, 1, -1):
        series = (series + (-1) ** k * _ZETA_MINUS_1[k - 2] / k) * small
    series = series + _ONE_MINUS_EULER - log1p_over(small, torch.ones_like(x))
    return torch.where(near, series, torch.lgamma(1 + far) / far)


def lgamma1p_bend(x: Tensor) -> Tensor:
    r"""$(\log\Gamma(1 + 2x) - 2 \log\Gamma(1 + x)) / x^2$, which is $\pi^2 / 6$ at 0.

    With x a power, it tells the squared coefficient of variation of an exponential variable raised to it:
    `expm1(x**2 * lgamma1p_bend(x))`.

    Args:
        x: Above -1/2.

    Source: DLMF 5.7.3.

    Example:
        >>> lgamma1p_bend(torch.tensor([0.0, 1.0]))
        tensor([1.6449, 0.6931])
    """
    near, small, far = _split(x, 0.25)
    series = torch.zeros_like(x)
    for k in range(len(_ZETA_MINUS_1) + 1, 1, -1):
        series = series * small + (-1) ** k * _ZETA_MINUS_1[k - 2] * (2**k - 2) / k
    series = series + log1p_over(small.square(), 1 / (1 + 2 * small))
    return torch.where(near, series, (torch.lgamma(1 + 2 * far) - 2 * torch.lgamma(1 + far)) / far.square())


def _split(x: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor]:
    near = x.abs() < limit
    return near, torch.where(near, x, 0.0), torch.where(near, 1.0, x)


# Riemann's zeta function minus 1, from 2 on.
_ZETA_MINUS_1 = (
    0.644934066848226436,
    0.202056903159594285,
    0.0823232337111381915,
    0.0369277551433699263,
    0.0173430619844491397,
    0.00834927738192282684,
    0.00407735619794433938,
    0.00200839282608221442,
    0.000994575127818085337,
    0.000494188604119464559,
    0.000246086553308048299,
    0.000122713347578489147,
    0.0000612481350587048293,
    0.0000305882363070204936,
    0.0000152822594086518717,
    7.63719763789976227e-6,
    3.81729326499983986e-6,
    1.90821271655393893e-6,
    9.53962033872796113e-7,
    4.76932986787806463e-7,
    2.3845050272773299e-7,
    1.19219925965311073e-7,
    5.96081890512594796e-8,
    2.98035035146522802e-8,
    1.49015548283650412e-8,
    7.45071178983542949e-9,
    3.72533402478845705e-9,
    1.86265972351304901e-9,
    9.31327432419668191e-10,
    4.65662906503378417e-10,
    2.32831183367650559e-10,
)
