"""Where quadrature cuts the line for densities with poles and power tails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from posterity.distributions.base import Distribution


def power_landmarks(d: Distribution) -> Tensor:
    """Quantiles at the levels `2**-k` of both tails, `[num_points, *batch_shape]`.

    Between neighbours a power of the distance to a pole, or of the tail, changes by a constant factor, however small
    the power: what a few nodes integrate to all digits.

    Args:
        d: A scalar distribution with an icdf.

    Example:
        >>> from posterity.distributions import Exponential
        >>> power_landmarks(Exponential(1.0)).shape
        torch.Size([39])
    """
    like = d._like()
    digits = 40 if like.dtype == torch.float64 else 20
    lower = torch.exp2(torch.arange(-digits, 0, dtype=like.dtype, device=like.device))
    levels = torch.cat([lower, 1 - lower[:-1].flip(0)]).reshape((-1,) + (1,) * len(d.batch_shape))
    return d.icdf(levels).expand((-1, *d.batch_shape))
