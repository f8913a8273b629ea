"""The upper tail of the horseshoe distribution, a normal mixture over half-Cauchy scales."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.exponential_integral import exp1e


@elementwise(lambda x, value: -exp1e(0.5 * x * x) / math.sqrt(2 * math.pi**3))
def horseshoe_tail(x: Tensor) -> Tensor:
    r"""P(T Z > x) for a standard normal Z and a standard half-Cauchy T.

    It is $\frac{2}{\pi} \int_0^\infty \phi(s) \arctan(s / x) ds$, with the normal density $\phi$.

    Args:
        x: At least 0.

    Returns:
        Probabilities of the same shape, from 1/2 at 0 falling like $2 / (\pi \sqrt{2 \pi} x)$, with a relative error
        of a few roundings; NaN below 0.

    Source: the trapezoidal rule in the logarithm of s, which converges exponentially (Trefethen and Weideman, 2014,
    The exponentially convergent trapezoidal rule).

    Example:
        >>> horseshoe_tail(torch.tensor([0.0, 1.0, 1e6]))
        tensor([5.0000e-01, 1.8623e-01, 2.5397e-07])
    """
    step, reach = (0.13, 37.0) if x.dtype == torch.float64 else (0.25, 18.0)
    logs = torch.arange(-reach, 2.5, step, dtype=x.dtype, device=x.device)
    s = logs.exp()
    weights = step * s * (-0.5 * s.square()).exp() * math.sqrt(2 / math.pi) / math.pi
    angles = torch.atan2(s, x.unsqueeze(-1))
    return torch.where(x >= 0, (weights * angles).sum(-1), math.nan)
