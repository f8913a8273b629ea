"""Normal numbers between two bounds, by inversion in log space, far out in either tail too."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.normal_tails import log_ndtr, ndtri_exp
from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import noise, settle
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters


def truncated_normal(
    low: Tensor | float, high: Tensor | float, sample_shape: Sequence[int] = (), *, source: Source = None
) -> Tensor:
    """Standard normal numbers under the condition that they lie between two bounds.

    Args:
        low: Lower bound, in standard deviations from the mean; may be -inf.
        high: Upper bound, above `low`; may be inf; broadcasts against `low`.
        sample_shape: Drawn in front of the bounds' shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *batch_shape]` in [low, high], with the gradients of its quantiles.

    Raises:
        TypeError: No bound is a tensor, or one is neither a number nor a real tensor.
        ValueError: The shapes do not broadcast.

    Source: Devroye (1986), "Non-uniform random variate generation", section II.2, on inversion.

    Example:
        >>> truncated_normal(torch.tensor([0.0, 30.0]), torch.inf, source=torch.Generator().manual_seed(0)) > 0
        tensor([True, True])
    """
    low, high = sampler_parameters("truncated_normal", low=low, high=high)
    shape = drawn_shape("truncated_normal", sample_shape, low=low, high=high)
    a, b = low.detach(), high.detach()
    signed = noise(settle(source, a, b), shape, a).signed()
    near, far = torch.log(0.5 * signed.abs()), torch.log1p(-0.5 * signed.abs())
    # The shares of the two bounds, each finely resolved where it is small.
    log_high, log_low = torch.where(signed < 0, near, far), torch.where(signed < 0, far, near)
    log_below = torch.logaddexp(log_low + log_ndtr(a), log_high + log_ndtr(b))
    log_above = torch.logaddexp(log_low + log_ndtr(-a), log_high + log_ndtr(-b))
    tail = ndtri_exp(torch.minimum(log_below, log_above))
    draws = torch.where(log_below < log_above, tail, -tail)
    return _with_gradient(torch.minimum(torch.maximum(draws, a), b), low, high, log_low, log_high)


def _slope(bound: Tensor, log_share: Tensor, value: Tensor) -> Tensor:
    """Of the quantile with respect to a bound: its share of the level, times its density over that of the value."""
    finite = torch.where(bound.isinf(), value.detach(), bound)
    rate = torch.exp(log_share + 0.5 * (value - finite) * (value + finite))
    return torch.where(bound.isinf(), 0.0, rate)


@elementwise(
    None,
    lambda draw, low, high, log_low, log_high, value: _slope(low, log_low, value),
    lambda draw, low, high, log_low, log_high, value: _slope(high, log_high, value),
    None,
    None,
)
def _with_gradient(draw: Tensor, low: Tensor, high: Tensor, log_low: Tensor, log_high: Tensor) -> Tensor:
    return draw.clone()
