"""Positive parameters of guides, learnt through the softplus."""

import math

import torch
from torch import Tensor


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
    return torch.full_like(like, math.log(math.expm1(scale)) if scale < 30 else scale)
