"""Quantiles of weighted data."""

import torch
from torch import Tensor


def weighted_quantile(data: Tensor, weights: Tensor, level: float) -> Tensor:
    """The least draw with at least the share `level` of the weight at or below it, of shape `batch_shape`.

    Args:
        data: `[num_data, *batch_shape]`.
        weights: Broadcast against `data` and sum to 1 over dimension 0.
        level: Between 0 and 1.

    Example:
        >>> weighted_quantile(torch.tensor([3.0, 1.0, 2.0]), torch.full((3,), 1 / 3), 0.5)
        tensor(2.)
    """
    ordered, order = data.sort(0)
    below = weights.expand_as(data).gather(0, order).cumsum(0)
    slack = len(data) * torch.finfo(data.dtype).eps
    first = (below < level - slack).sum(0, keepdim=True).clamp(max=len(data) - 1)
    return ordered.gather(0, first).squeeze(0)
