"""Exponential and Gumbel numbers, never zero or infinite."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import noise, settle


def exponential(shape: Sequence[int], *, source: Source = None, like: Tensor) -> Tensor:
    """Standard exponential numbers: finite and positive.

    Half of the draws come from the logarithm of a small uniform number, half from that of one near 1, so that both
    ends are finely resolved: float32 draws reach 43.

    Args:
        shape: Shape of the result.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.
        like: Decides on dtype (half precision is drawn in float32) and device.

    Returns:
        Tensor of the given shape, without gradient.

    Example:
        >>> exponential((3,), source=torch.Generator().manual_seed(0), like=torch.ones(())).shape
        torch.Size([3])
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    settled = settle(source, like)
    if settled is None or isinstance(settled, torch.Generator):
        draws = torch.empty(tuple(shape), dtype=dtype, device=like.device).exponential_(generator=settled)
        return draws.clamp_(min=torch.finfo(dtype).tiny)
    return noise(settled, shape, like.detach().to(dtype)).exponential()


def gumbel(shape: Sequence[int], *, source: Source = None, like: Tensor) -> Tensor:
    """Standard Gumbel numbers, -log of exponential ones: always finite.

    Arguments are those of `exponential`.

    Example:
        >>> gumbel((1000,), source=torch.Generator().manual_seed(0), like=torch.ones(())).isfinite().all()
        tensor(True)
    """
    return -torch.log(exponential(shape, source=source, like=like))
