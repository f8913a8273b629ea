"""Unit vectors around a mean direction: how far apart two are, and how a draw is put together.

With t the cosine of the angle between them, its versine 1 - t keeps the digits that t loses near 1.
"""

import torch
from torch import Tensor

from posterity.kernels import Source, normal


def unit(vectors: Tensor) -> Tensor:
    """`vectors` at length 1: a parameter that is a direction has no gradient along itself."""
    units: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return units


def versine(x: Tensor, y: Tensor) -> Tensor:
    """One minus the cosine of the angle between unit vectors, `[...]`.

    Vectors whose length is off by some rounding shift it by the square of that only.

    Example:
        >>> versine(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(1.)
    """
    return 0.5 * (x - y).square().sum(-1)


def around(direction: Tensor, versines: Tensor, source: Source) -> Tensor:
    """Unit vectors that have the given versines from `direction` and are uniform around it.

    Args:
        direction: Unit vectors, `[*batch, n]` with n at least 2.
        versines: In [0, 2], `[*sample_shape, *batch]`.
        source: Where the random numbers come from.

    Returns:
        Tensor `[*sample_shape, *batch, n]`.
    """
    size = direction.shape[-1]
    noise = normal((*versines.shape, size - 1), source=source, dtype=direction.dtype, device=direction.device)
    beside = noise / noise.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(noise.dtype).tiny)
    # The reflection along `direction + s e1` takes -s e1 to the direction. With s the sign of the first entry the two
    # do not cancel.
    first = direction[..., :1]
    sign = torch.where(first >= 0, 1.0, -1.0).to(direction.dtype)
    axis = torch.cat([first + sign, direction[..., 1:]], -1)
    cosine = -sign * (1 - versines.unsqueeze(-1))
    draw = torch.cat([cosine, (versines * (2 - versines)).clamp(min=0).sqrt().unsqueeze(-1) * beside], -1)
    share = (axis * draw).sum(-1, keepdim=True) / (1 + first.abs())
    return unit(draw - share * axis)


def spread_around(direction: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """The covariance with variance `along` a direction and `across` it, `[*batch, n, n]`."""
    projection = direction.unsqueeze(-1) * direction.unsqueeze(-2)
    identity = torch.eye(direction.shape[-1], dtype=direction.dtype, device=direction.device)
    return along[..., None, None] * projection + across[..., None, None] * (identity - projection)
