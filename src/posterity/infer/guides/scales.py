"""Positive parameters of guides, learnt through the softplus."""

import torch
from torch import Tensor

from posterity.bijectors.softplus import log1mexp


def check_scale(owner: str, init_scale: float) -> float:
    """`init_scale`, if it is a positive number.

    Raises:
        ValueError: It is not.
    """
    if not init_scale > 0:
        raise ValueError(f"init_scale of {owner} must be positive, not {init_scale}")
    return float(init_scale)


def raw_scale(scale: float, like: Tensor) -> Tensor:
    """What the softplus maps to a scale, in the shape of another tensor."""
    return inverse_softplus(torch.full_like(like, scale))


def inverse_softplus(scale: Tensor) -> Tensor:
    """What the softplus maps to positive numbers."""
    return scale + log1mexp(scale)
