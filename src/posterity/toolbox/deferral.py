"""What is gained by handing the most uncertain cases to somebody else."""

from typing import NamedTuple

import torch
from torch import Tensor


class DeferralCurve(NamedTuple):
    """How right a model is on what it keeps, by how much it hands on.

    Attributes:
        fraction_deferred: `[batch]`, from 0 up to `(batch - 1) / batch`.
        accuracy_of_the_rest: `[batch]`, the fraction of right answers among the cases kept.
    """

    fraction_deferred: Tensor
    accuracy_of_the_rest: Tensor


def deferral_curve(uncertainty: Tensor, correct: Tensor) -> DeferralCurve:
    """The accuracy on the cases kept, when the most uncertain ones are handed on first.

    Cases of equal uncertainty are handed on in random order; the curve is the expectation over that order, so
    it doesn't depend on how the batch was sorted. Source: Geifman and El-Yaniv (2017), Selective
    Classification for Deep Neural Networks (the curve is one minus their risk).

    Args:
        uncertainty: `[batch]`, in any unit.
        correct: `[batch]`, booleans: whether the model's answer is right.

    Returns:
        The fractions handed on (0, 1/batch, ..., (batch - 1)/batch) and the accuracy on the rest at each.

    Raises:
        ValueError: If the two are not vectors of one length, are empty, or `uncertainty` holds NaN.
        TypeError: If `correct` is not boolean.

    Example:
        >>> correct = torch.tensor([True, False, True, True])
        >>> curve = deferral_curve(torch.tensor([0.1, 0.9, 0.2, 0.3]), correct)
        >>> curve.accuracy_of_the_rest
        tensor([0.7500, 1.0000, 1.0000, 1.0000])
    """
    if uncertainty.ndim != 1 or uncertainty.shape != correct.shape:
        raise ValueError(
            "uncertainty and correct must be vectors of one length; got shapes "
            f"{tuple(uncertainty.shape)} and {tuple(correct.shape)}"
        )
    if len(uncertainty) == 0:
        raise ValueError("uncertainty and correct are empty")
    if correct.dtype != torch.bool:
        raise TypeError(f"correct must be boolean; got {correct.dtype}")
    if uncertainty.isnan().any():
        raise ValueError("uncertainty holds NaN")
    size = len(uncertainty)
    _, group, group_size = torch.unique(uncertainty, return_inverse=True, return_counts=True)
    right_in_group = torch.zeros(len(group_size), device=group.device).index_add(0, group, correct.float())
    right_by_rank = (right_in_group / group_size).repeat_interleave(group_size)
    kept = torch.arange(1, size + 1, device=group.device)
    accuracy = right_by_rank.cumsum(0) / kept
    return DeferralCurve((size - kept.flip(0)) / size, accuracy.flip(0))
