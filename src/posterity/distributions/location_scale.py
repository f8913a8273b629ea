"""Draws of location-scale families: noise, scaled and shifted, in one pass or in the noise's own memory."""

import torch
from torch import Tensor

from posterity.distributions.parameters import is_plain


def located(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """`loc + scale * noise`, for noise that nothing else holds: it is overwritten where no gradient is recorded.

    Args:
        noise: Fresh draws, `[*sample_shape, *batch_shape]`, without a gradient of their own.
        loc: Of shape `batch_shape`.
        scale: Of shape `batch_shape`.

    Example:
        >>> located(torch.ones(2, 3), torch.zeros(3), torch.ones(3)).shape
        torch.Size([2, 3])
    """
    if not is_spare():
        return torch.addcmul(loc, scale, noise)
    return noise.mul_(scale).add_(loc)


def scaled(noise: Tensor, scale: Tensor) -> Tensor:
    """`scale * noise`, otherwise as `located`.

    Example:
        >>> scaled(torch.ones(2, 3), torch.ones(3)).shape
        torch.Size([2, 3])
    """
    return noise.mul_(scale) if is_spare() else noise * scale


def is_spare() -> bool:
    """Whether fresh noise may be overwritten by what is made of it and of parameters.

    Fresh memory costs more than the arithmetic; but neither a graph nor `torch.func` likes it to be written over.
    """
    return not torch.is_grad_enabled() and is_plain()
