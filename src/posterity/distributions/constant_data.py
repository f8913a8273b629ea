"""Data that no member of a family fits best: draws that are all alike, or that lie at an infinite density."""

import torch
from torch import Tensor


def refuse_constant(owner: str, data: Tensor, weights: Tensor) -> None:
    """Raises where all draws with a weight are equal, under which the likelihood of most families has no maximum.

    Args:
        owner: The distribution, for the error message.
        data: `[num_data, *batch_shape]`.
        weights: Broadcast against `data`; draws of weight 0 do not count.

    Raises:
        ValueError: The draws of one batch element are all equal.

    Example:
        >>> refuse_constant("Gamma", torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.5]))
    """
    if not torch._is_all_true(varies(data, weights)):
        raise ValueError(
            f"data of {owner}.fit must not be all alike, in no element of the batch: the likelihood has no maximum "
            "then. Give different draws, or fix the parameter that tells their spread."
        )


def varies(data: Tensor, weights: Tensor) -> Tensor:
    """Whether draws with a weight differ, for each element `[*batch_shape]`; their variance may be mere rounding.

    Example:
        >>> varies(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), torch.tensor([[0.5], [0.5]]))
        tensor([False,  True])
    """
    least = torch.where(weights > 0, data, torch.inf).amin(0)
    return least < torch.where(weights > 0, data, -torch.inf).amax(0)


def refuse_ends(owner: str, data: Tensor) -> None:
    """Raises where a draw lies at 0 or 1, where members of a family on the unit interval have infinite densities.

    Raises:
        ValueError: A draw is not inside (0, 1).

    Example:
        >>> refuse_ends("Beta", torch.tensor([0.1, 0.9]))
    """
    if not torch._is_all_true((data > 0) & (data < 1)):
        raise ValueError(
            f"data of {owner}.fit must lie inside (0, 1): with a draw at an end the likelihood has no maximum. Move "
            "such draws inwards."
        )
