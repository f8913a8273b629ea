"""Where every sampler of this floor takes its random numbers from.

Fresh tensors rather than in-place draws, because `torch.vmap` refuses the latter.
"""

from typing import TypeAlias

import torch
from torch import Tensor

Generator: TypeAlias = torch.Generator | None
"""A source of random numbers; None is torch's global generator of the device in question."""


def standard_normal(shape: torch.Size, like: Tensor, generator: Generator = None) -> Tensor:
    """Independent standard normal numbers of the dtype and on the device of `like`.

    Example:
        >>> like = torch.zeros((), dtype=torch.float64)
        >>> standard_normal(torch.Size([2]), like, torch.Generator().manual_seed(0)).dtype
        torch.float64
    """
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def uniform(shape: torch.Size, like: Tensor, generator: Generator = None) -> Tensor:
    """Independent numbers from the half-open interval [0, 1), of the dtype and on the device of `like`.

    Example:
        >>> uniform(torch.Size([2]), torch.zeros(()), torch.Generator().manual_seed(0)).shape
        torch.Size([2])
    """
    return torch.rand(shape, dtype=like.dtype, device=like.device, generator=generator)


def centred_uniform(shape: torch.Size, like: Tensor, generator: Generator = None) -> Tensor:
    """Independent numbers from the open interval (-1/2, 1/2): symmetric, never 0 and never an end.

    `torch.rand` draws multiples of eps / 2. Half such a step is added after centring, where it is exact, so
    that an inverse cdf applied to the result plus 1/2 is finite, and exactly as often left as right of the
    middle.

    Example:
        >>> u = centred_uniform(torch.Size([1000]), torch.zeros(()), torch.Generator().manual_seed(0))
        >>> bool((u.abs() < 0.5).all() and (u != 0).all())
        True
    """
    return (uniform(shape, like, generator) - 0.5) + torch.finfo(like.dtype).eps / 4
