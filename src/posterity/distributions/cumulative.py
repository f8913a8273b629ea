"""The cdf of a continuous scalar distribution by quadrature of its density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posterity.distributions.quadrature import gauss_kronrod
from posterity.distributions.supports import support_ends

if TYPE_CHECKING:
    from posterity.distributions.base import Distribution

_HALVINGS = 12


def integrated_cdf(d: Distribution, value: Tensor, *, above: bool) -> Tensor:
    """P(X <= value), or P(X > value), by a Gauss-Kronrod rule over pieces that shrink towards `value`.

    Pieces begin at the distribution's landmarks and at `value` minus (or plus) the span of those times powers of one
    half, so tails keep their relative accuracy. For a density that is smooth on the scale of the gaps between
    landmarks that is about 1e-10 (float64) or the dtype's rounding. Gradients flow through the nodes to `value` and
    through the density to the parameters.
    """
    shape = torch.broadcast_shapes(value.shape, d.batch_shape)
    with torch.no_grad():
        landmarks = d._landmarks()
        landmarks = landmarks.reshape(len(landmarks), *(1,) * (len(shape) - len(d.batch_shape)), *d.batch_shape)
        lower, upper = (end.expand(shape) for end in support_ends(d))
        span = (landmarks.amax(0) - landmarks.amin(0)).expand(shape)
        steps = 0.5 ** torch.arange(_HALVINGS + 1, dtype=span.dtype, device=span.device)
        largest = torch.finfo(span.dtype).max / 4
    value = value.to(span.dtype).expand(shape)
    end = value.clamp(min=-largest, max=largest).clamp(lower, upper)
    column = (-1,) + (1,) * len(shape)
    sign = 1 if above else -1
    near = end + sign * span * steps.reshape(column)
    cuts = torch.cat([landmarks.expand(-1, *shape), near, end.unsqueeze(0)])
    cuts = torch.where(cuts * sign > end * sign, cuts, end).clamp(lower, upper).sort(0).values
    ends = (end, upper) if above else (lower, end)
    value_of_integral, _, _ = gauss_kronrod(d.prob, cuts, *ends, span=span)
    everything, nothing = (lower, upper) if above else (upper, lower)
    result = value_of_integral.clamp(0, 1)
    result = torch.where(value * sign <= everything * sign, 1, result)
    return torch.where(value * sign >= nothing * sign, 0, result)
