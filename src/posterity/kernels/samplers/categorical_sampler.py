"""Categorical draws by inversion of the cumulative probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import noise, settle
from posterity.kernels.samplers.parameters import sampler_parameters


def categorical(logits: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Draws from the categorical distribution.

    One uniform number a draw, and a binary search among the cumulative probabilities, which are summed in float64:
    a category of probability 1e-12 among a million others still has its share, and one of logit -inf is never drawn.

    Args:
        logits: Unnormalised log probabilities, `[*batch_shape, num_categories]`.
        sample_shape: Drawn in front of the batch shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        int64 tensor `[*sample_shape, *batch_shape]` of indices, without gradient.

    Raises:
        TypeError: `logits` is not a real tensor.
        ValueError: `logits` has no dimension.

    Source: Devroye (1986), "Non-uniform random variate generation", section III.2.

    Example:
        >>> from posterity.kernels import Key
        >>> categorical(torch.tensor([0.0, -torch.inf]), (3,), source=Key(0))
        tensor([0, 0, 0])
    """
    (logits,) = sampler_parameters("categorical", logits=logits)
    if logits.dim() == 0:
        raise ValueError("categorical: logits needs a last dimension, that of the categories; got a scalar.")
    settled = settle(source, logits)
    cumulative = torch.softmax(logits.detach().double(), dim=-1).cumsum(-1)
    total = cumulative[..., -1]
    batch = tuple(logits.shape[:-1])
    level = noise(settled, (*sample_shape, *batch), cumulative).uniform() * total
    # Rounding must not reach the end, behind which there is no category.
    level = torch.minimum(level, total * (1 - 2.0**-50))
    lead = level.shape[: level.dim() - len(batch)]
    last = level.reshape(lead.numel(), *batch).movedim(0, -1).contiguous()
    index = torch.searchsorted(cumulative, last, right=True)
    return index.movedim(-1, 0).reshape(lead + batch)
