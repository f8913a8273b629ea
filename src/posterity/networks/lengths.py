"""Sequences of different lengths in one padded batch."""

from typing import Any

import torch
from torch import Tensor

from posterity.runtime import validation_enabled


def check_lengths(owner: str, lengths: Any, batch: int, time: int) -> None:
    """Refuse lengths that do not fit a padded batch `[batch, time, ...]`.

    Raises:
        TypeError: if they are no tensor of whole numbers.
        ValueError: if there is not one for each sequence, or one is out of range.
    """
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        kind = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"{owner}: lengths must be a tensor of whole numbers, got {kind}")
    if lengths.shape != (batch,):
        raise ValueError(
            f"{owner}: lengths must have one entry for each of the {batch} sequences, got {list(lengths.shape)}"
        )
    if validation_enabled() and not ((lengths >= 1) & (lengths <= time)).all():
        raise ValueError(
            f"{owner}: lengths must be from 1 to {time}, the steps of the batch, got {int(lengths.min())} to "
            f"{int(lengths.max())}"
        )


def within(lengths: Tensor, time: int) -> Tensor:
    """Which steps of a padded batch count, `[batch, time]`.

    Example:
        >>> within(torch.tensor([2, 1]), 3)
        tensor([[ True,  True, False],
                [ True, False, False]])
    """
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(-1)
