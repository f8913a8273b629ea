"""Inverse Gaussian draws with the gradient of their quantiles."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.normal_tails import mills_ratio
from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import noise, settle
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters


def inverse_gaussian(
    loc: Tensor | float, concentration: Tensor | float, sample_shape: Sequence[int] = (), *, source: Source = None
) -> Tensor:
    """Draws from the inverse Gaussian (Wald) distribution.

    Args:
        loc: Mean, positive.
        concentration: Shape parameter, positive; broadcasts against `loc`. The variance is loc^3 / concentration.
        sample_shape: Drawn in front of the parameters' shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *batch_shape]`, positive, with implicit gradients of any order.

    Raises:
        TypeError: No parameter is a tensor, or one is neither a number nor a real tensor.
        ValueError: The shapes do not broadcast.

    Source: Michael, Schucany and Haas (1976), "Generating random variates using transformations with multiple
    roots"; the smaller root is taken as the inverse of the larger one, so that nothing cancels.

    Example:
        >>> inverse_gaussian(torch.tensor([1.0, 2.0]), 3.0, (4,), source=torch.Generator().manual_seed(0)).shape
        torch.Size([4, 2])
    """
    loc, concentration = sampler_parameters("inverse_gaussian", loc=loc, concentration=concentration)
    shape = drawn_shape("inverse_gaussian", sample_shape, loc=loc, concentration=concentration)
    ratio = concentration / loc
    numbers = noise(settle(source, ratio.detach()), shape, ratio.detach())
    w = numbers.normal().square() / (2 * ratio.detach())
    larger = 1 + w + torch.sqrt(w) * torch.sqrt(w + 2)
    # The larger root is taken with probability 1 / (1 + larger): it is large itself where that is small.
    take_larger = numbers.uniform() * (1 + larger) < 1
    draws: Tensor = loc * _with_gradient(torch.where(take_larger, larger, 1 / larger), ratio)
    return draws


def _slope(draw: Tensor, ratio: Tensor, value: Tensor) -> Tensor:
    """Minus the cdf's derivative with respect to the ratio, over the density, for mean 1."""
    mills = mills_ratio((1 + value) * torch.sqrt(ratio / value))
    return value / ratio - 2 * mills * value * torch.sqrt(value / ratio)


@elementwise(None, _slope)
def _with_gradient(draw: Tensor, ratio: Tensor) -> Tensor:
    return draw.clone()
