"""Whether stated probabilities can be believed: calibration of a classifier on labelled data.

These are functions of probabilities alone; they do not know which network, or which method, stated them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reliability:
    """How often a classifier is right, by how sure it said it was.

    Attributes:
        confidence: `[num_bins]`, the mean probability of the predicted class in each bin; NaN where empty.
        accuracy: `[num_bins]`, the fraction of right predictions in each bin; NaN where empty.
        count: `[num_bins]`, the number of examples in each bin.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def reliability(probs: Tensor, labels: Tensor, num_bins: int = 15) -> Reliability:
    """Group predictions by the probability of the predicted class, in bins (a, b] of equal width.

    Source: Guo, Pleiss, Sun, Weinberger (2017), On Calibration of Modern Neural Networks, section 2.

    Args:
        probs: `[batch, classes]`, predictive probabilities.
        labels: `[batch]`, the true classes as integers in `0 .. classes - 1`.
        num_bins: The number of bins between 0 and 1.

    Returns:
        The confidence, accuracy and count of each bin.

    Raises:
        ValueError: If the shapes do not fit, the batch is empty, a row is no distribution, a label is out of
            range, or `num_bins` is less than 1.
        TypeError: If `probs` is not floating-point or `labels` are not integers.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> curve = reliability(probs, torch.tensor([0, 1, 1]), num_bins=2)
        >>> curve.count, curve.accuracy[1]
        (tensor([0, 3]), tensor(0.6667))
    """
    check_probabilities(probs, labels)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1; got {num_bins}")
    probs = _at_least_single(probs)
    confidence, predicted = probs.max(dim=-1)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=probs.dtype, device=probs.device)
    bins = torch.bucketize(confidence, edges[1:-1])

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(num_bins).index_add(0, bins, values)

    count = total(torch.ones_like(bins))
    correct = (predicted == labels).to(probs.dtype)
    return Reliability(total(confidence) / count, total(correct) / count, count)


def expected_calibration_error(probs: Tensor, labels: Tensor, num_bins: int = 15) -> Tensor:
    """The mean gap between confidence and accuracy over the bins of `reliability`, weighted by their counts.

    0 is perfect, 1 the worst. The estimate is biased upwards on small sets, since chance alone makes gaps.
    Source: Guo, Pleiss, Sun, Weinberger (2017), On Calibration of Modern Neural Networks, equation 3.

    Args:
        probs: `[batch, classes]`, predictive probabilities.
        labels: `[batch]`, the true classes as integers in `0 .. classes - 1`.
        num_bins: The number of bins between 0 and 1.

    Returns:
        A tensor of no dimensions.

    Raises:
        ValueError: As `reliability` does.
        TypeError: As `reliability` does.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> expected_calibration_error(probs, torch.tensor([0, 1]))
        tensor(0.4000)
    """
    curve = reliability(probs, labels, num_bins)
    gaps = torch.where(curve.count > 0, (curve.confidence - curve.accuracy).abs(), 0)
    return (gaps * curve.count).sum() / curve.count.sum()


def negative_log_likelihood(probs: Tensor, labels: Tensor) -> Tensor:
    """The mean of -log p(true class), in nats: smaller is better, and infinite if a true class was ruled out.

    Args:
        probs: `[batch, classes]`, predictive probabilities.
        labels: `[batch]`, the true classes as integers in `0 .. classes - 1`.

    Returns:
        A tensor of no dimensions.

    Raises:
        ValueError: If the shapes do not fit, the batch is empty, a row is no distribution, or a label is out
            of range.
        TypeError: If `probs` is not floating-point or `labels` are not integers.

    Example:
        >>> negative_log_likelihood(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([1, 0]))
        tensor(0.3466)
    """
    check_probabilities(probs, labels)
    chosen = _at_least_single(probs).gather(-1, labels.long().unsqueeze(-1))
    return -chosen.log().mean()


def check_probabilities(probs: Tensor, labels: Tensor) -> None:
    """Raise unless `probs` is a non-empty batch of distributions and `labels` are classes of them."""
    if probs.ndim != 2 or labels.ndim != 1 or len(probs) != len(labels):
        raise ValueError(
            "probs must be [batch, classes] and labels [batch] of the same batch; got "
            f"{tuple(probs.shape)} and {tuple(labels.shape)}"
        )
    if probs.numel() == 0:
        raise ValueError(f"probs is empty: {tuple(probs.shape)}")
    if not probs.is_floating_point():
        raise TypeError(f"probs must be floating-point; got {probs.dtype}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers; got {labels.dtype}")
    if not probs.isfinite().all():
        raise ValueError("probs holds NaN or infinite values")
    tolerance = max(1e-3, 4 * torch.finfo(probs.dtype).eps)
    total = _at_least_single(probs).sum(dim=-1)
    if (probs < 0).any() or ((total - 1).abs() > tolerance).any():
        raise ValueError(
            "each row of probs must hold numbers of at least 0 that sum to 1 (are these logits?); row sums "
            f"run from {total.min():.4g} to {total.max():.4g}, the smallest entry is {probs.min():.4g}"
        )
    if (labels < 0).any() or (labels >= probs.shape[1]).any():
        raise ValueError(
            f"labels must lie in 0..{probs.shape[1] - 1}, the classes of probs; "
            f"they run from {labels.min()} to {labels.max()}"
        )


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if torch.finfo(values.dtype).bits < 32 else values
