"""Observations of a sequence that are missing, as time-series models are told of them."""

import torch
from torch import Tensor

from posterity.distributions.parameters import broadcast_shapes


def checked_mask(owner: str, mask: Tensor, steps: torch.Size) -> Tensor:
    """`mask` with all its dimensions, of which only the last is expanded.

    Args:
        owner: The model, for error messages.
        mask: True where data are missing, of a shape that broadcasts against `steps`.
        steps: The shape of the observations before their events, `[*batch, num_steps]`.

    Raises:
        TypeError: `mask` is not boolean.
        ValueError: Its shape does not fit.

    Example:
        >>> checked_mask("Model", torch.tensor([True, False]), torch.Size((3, 2))).shape
        torch.Size([1, 2])
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask of {owner} must be a bool tensor, True where data are missing, not {kind}.")
    if broadcast_shapes("mask and observations", mask=mask.shape, observations=steps) != steps:
        raise ValueError(
            f"mask of shape {tuple(mask.shape)} does not fit observations of shape {tuple(steps)} before their events."
        )
    mask = mask.reshape((1,) * (len(steps) - mask.dim()) + mask.shape)
    return mask.expand(*mask.shape[:-1], steps[-1])
