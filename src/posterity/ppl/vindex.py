"""Indexing by tensors that broadcast against each other, so that batch and enumeration dimensions stay on the left."""

from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

Index = int | slice | Tensor | EllipsisType


class Vindex:
    """`Vindex(tensor)[i, :, j]`, see `vindex`.

    Args:
        tensor: What is indexed.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> z = torch.tensor([[0], [1]])
        >>> Vindex(probs)[z].shape, Vindex(probs)[z, torch.arange(2)].shape
        (torch.Size([2, 1, 2]), torch.Size([2, 2]))
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __getitem__(self, indices: Any) -> Tensor:
        return vindex(self.tensor, indices)


def vindex(tensor: Tensor, indices: Index | tuple[Index, ...]) -> Tensor:
    """The entries that `tensor[indices]` has for whole numbers, for tensors of whole numbers that broadcast.

    Args:
        tensor: What is indexed, `[*batch, *event]`.
        indices: One for each event dimension: a whole number, a tensor of them, or a slice. An ellipsis first says
            that what is left of them is a batch; without it `tensor` has no batch, and dimensions that have no index
            are taken whole.

    Returns:
        The entries, `[*broadcast(batch, *index shapes), *sliced dimensions]`.

    Raises:
        IndexError: An ellipsis stands elsewhere, or there are more indices than dimensions.
        TypeError: An index is nothing of the kind.

    Example:
        >>> x = torch.zeros(5, 2, 3, 4)  # a batch of 5
        >>> vindex(x, (..., torch.zeros(7, 1, dtype=torch.long), slice(None), 1)).shape
        torch.Size([7, 5, 3])
    """
    given = indices if isinstance(indices, tuple) else (indices,)
    has_batch = bool(given) and given[0] is Ellipsis
    given = given[1:] if has_batch else given
    for index in given:
        if index is Ellipsis:
            raise IndexError("vindex: an ellipsis may stand at the left only, where it is the batch")
        if not isinstance(index, int | slice | Tensor):
            raise TypeError(f"vindex: an index must be a whole number, a tensor or a slice, not {type(index).__name__}")
    if len(given) > tensor.dim():
        raise IndexError(f"vindex: {len(given)} indices for a tensor of shape {tuple(tensor.shape)}")
    if not has_batch:
        given = (*given, *(slice(None),) * (tensor.dim() - len(given)))
    batch = tensor.dim() - len(given)
    cuts = tuple(index if isinstance(index, slice) else slice(None) for index in given)
    sliced = tensor[(slice(None),) * batch + cuts]
    chosen = [batch + i for i, index in enumerate(given) if not isinstance(index, slice)]
    if not chosen:
        return sliced
    whole = [batch + i for i, index in enumerate(given) if isinstance(index, slice)]
    picks = [torch.as_tensor(index, device=tensor.device) for index in given if not isinstance(index, slice)]
    rows = [
        torch.arange(tensor.shape[d], device=tensor.device).reshape((-1,) + (1,) * (batch - 1 - d))
        for d in range(batch)
    ]
    entries = sliced.permute(*range(batch), *chosen, *whole)
    # An index without dimensions would be read as a number, which captured graphs cannot.
    return entries[tuple(index.long().unsqueeze(0) for index in (*rows, *picks))].squeeze(0)
