"""Sorting many rows of numbers."""

import numpy as np
import torch
from torch import Tensor

from posterity.kernels.reading import readable


def sort_rows(rows: Tensor, *, runs: bool = False) -> tuple[Tensor, Tensor]:
    """Each row in ascending order, with the places that its numbers come from.

    Args:
        rows: `[num_rows, length]`.
        runs: Whether the rows consist of a few pieces in order, which a merge sort makes use of.

    Returns:
        The ordered rows and the places, both `[num_rows, length]`.

    Example:
        >>> sort_rows(torch.tensor([[3.0, 1.0, 2.0]]))
        (tensor([[1., 2., 3.]]), tensor([[1, 2, 0]]))
    """
    if not readable(rows):
        ordered, places = rows.sort(dim=-1)
        return ordered, places
    # NumPy's sorts take about half of the time of torch's.
    places = torch.from_numpy(np.argsort(rows.numpy(), axis=-1, kind="stable" if runs else None))
    return rows.gather(-1, places), places
