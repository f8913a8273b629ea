"""What a stochastic network knows about a batch, and how sure it is."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """A predictive mixture, summarised: one component for each posterior draw of the network.

    Attributes:
        mean: classification: predictive probabilities `[batch, classes, *dims]`. Regression: `[batch, *event]`.
        epistemic: what more data would cure. Classification: mutual information between label and weights, in nats,
            `[batch, *dims]`. Regression: variance of the draws' means, in the target's unit squared, `[batch, *event]`.
        aleatoric: noise in the data itself. Classification: mean entropy of the draws, in nats. Regression: mean
            variance of the draws. Same shape as `epistemic`.
        distribution: the mixture. Classification: over labels, of batch shape `[batch, *dims]`.

    Source: Depeweg et al. (2018), "Decomposition of uncertainty in Bayesian deep learning".

    Example:
        >>> import torch, posterity as pt
        >>> class Ensemble(torch.nn.ModuleList):
        ...     def predictive_draws(self, x, num_samples, generator=None):
        ...         return torch.stack([net(x) for net in self])
        >>> ensemble = Ensemble(torch.nn.Linear(4, 3) for _ in range(5))
        >>> p = pt.predict(ensemble, torch.randn(10, 4), task="classification")
        >>> p.mean.shape, p.epistemic.shape, p.defer(fraction=0.2).sum()
        (torch.Size([10, 3]), torch.Size([10]), tensor(2))
    """

    mean: Tensor
    epistemic: Tensor
    aleatoric: Tensor
    distribution: torch.distributions.Distribution

    @property
    def total(self) -> Tensor:
        """`aleatoric + epistemic`: the entropy (classification) or the variance (regression) of the mixture."""
        return self.aleatoric + self.epistemic

    def __repr__(self) -> str:
        parts = ((name, getattr(self, name)) for name in ("mean", "epistemic", "aleatoric"))
        return f"Prediction({', '.join(f'{name}: {list(value.shape)}' for name, value in parts)})"

    def defer(self, *, threshold: float | None = None, fraction: float | None = None, by: str = "total") -> Tensor:
        """Which examples to hand to somebody who knows better: the most uncertain ones.

        An example with several outputs (pixels, targets) counts by their mean.

        Args:
            threshold: defer what is more uncertain than this (nats, or the target's unit squared).
            fraction: defer this share of the batch, the most uncertain first; rounded to whole examples.
            by: which uncertainty counts: `"total"`, `"epistemic"` (for strangers) or `"aleatoric"`.

        Returns:
            Boolean tensor `[batch]`.

        Raises:
            ValueError: unless exactly one of `threshold` and `fraction` is given, if `fraction` is outside [0, 1], or
                if `by` is no uncertainty.
        """
        if (threshold is None) == (fraction is None):
            raise ValueError("defer: give either threshold= or fraction=")
        if by not in ("total", "epistemic", "aleatoric"):
            raise ValueError(f"defer: by must be 'total', 'epistemic' or 'aleatoric', got {by!r}")
        uncertainty: Tensor = getattr(self, by)
        if uncertainty.dim() > 1:
            uncertainty = uncertainty.flatten(1).mean(1)
        if threshold is not None:
            return uncertainty > threshold
        assert fraction is not None
        if not 0 <= fraction <= 1:
            raise ValueError(f"defer: fraction must be between 0 and 1, got {fraction}")
        count = int(fraction * len(uncertainty) + 0.5)
        deferred = torch.zeros_like(uncertainty, dtype=torch.bool)
        deferred[uncertainty.topk(count).indices] = True
        return deferred
