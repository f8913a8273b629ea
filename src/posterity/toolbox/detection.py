"""How well a score tells inputs of a kind never seen before from known ones."""

import torch
from torch import Tensor


def auroc(scores_known: Tensor, scores_unknown: Tensor) -> Tensor:
    """The probability that an unknown input scores higher than a known one, ties counting half.

    This is the area under the ROC curve, and the Mann-Whitney statistic: 1 is perfect, 0.5 is chance. It is
    counted exactly, in O(n log n). Source: Hanley and McNeil (1982), The Meaning and Use of the Area under a
    Receiver Operating Characteristic (ROC) Curve.

    Args:
        scores_known: `[known]`, for example the epistemic uncertainty of inputs like those trained on.
        scores_unknown: `[unknown]`, the same score for inputs unlike them.

    Returns:
        A tensor of no dimensions.

    Raises:
        ValueError: If either is not a vector, is empty, or holds NaN.

    Example:
        >>> auroc(torch.tensor([0.1, 0.2, 0.5]), torch.tensor([0.5, 0.9]))
        tensor(0.9167)
    """
    for name, scores in (("scores_known", scores_known), ("scores_unknown", scores_unknown)):
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(f"{name} must be a vector of at least one score; got shape {tuple(scores.shape)}")
        if scores.isnan().any():
            raise ValueError(f"{name} holds NaN")
    dtype = torch.promote_types(scores_known.dtype, scores_unknown.dtype)
    known, unknown = scores_known.to(dtype).sort().values, scores_unknown.to(dtype)
    twice_beaten = torch.searchsorted(known, unknown) + torch.searchsorted(known, unknown, right=True)
    area = twice_beaten.sum().item() / (2 * len(known) * len(unknown))
    return torch.tensor(area, dtype=torch.promote_types(dtype, torch.float32), device=unknown.device)
