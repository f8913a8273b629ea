"""Quantile regression: several quantiles of the target as functions of the input, which cannot cross."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posterity.networks.checks import check_count
from posterity.networks.regressor import Regressor, inverse_softplus
from posterity.nn import random_parameters
from posterity.runtime import eval_mode


class QuantileRegressor(Regressor):
    """A network that gives quantiles of the target, without a family of distributions.

    The first quantile is the head's own, and each further one adds a positive step, so that quantiles are in order
    for every input. Given quantiles alone there is no density: the network states no distribution, and
    `predict_quantiles` and `predict_interval` are what it can be asked.

    Args:
        body: any module that gives features `[batch, in_features]`.
        in_features: the width of those features.
        out_features: targets are vectors `[batch, out_features]`, with quantiles of each entry; None: single numbers,
            `[batch]`.
        quantiles: their levels, rising, in (0, 1).

    Raises:
        TypeError: if `body` is not a module.
        ValueError: if a width does not fit, or the levels are not rising within (0, 1).

    Source: Koenker and Bassett (1978), "Regression quantiles"; steps that are positive: Chernozhukov, Fernandez-Val,
    Galichon (2010), "Quantile and probability curves without crossing", section 1, name the problem.

    Example:
        >>> net = QuantileRegressor(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), 8, quantiles=(0.1, 0.5, 0.9))
        >>> q = net(torch.randn(5, 4))
        >>> q.shape, bool((q.diff(dim=-1) > 0).all())
        (torch.Size([5, 3]), True)
    """

    levels: Tensor

    def __init__(
        self,
        body: nn.Module,
        in_features: int,
        out_features: int | None = None,
        *,
        quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    ) -> None:
        if out_features is not None:
            check_count("QuantileRegressor", "out_features", out_features)
        levels = [float(q) for q in quantiles]
        rising = all(a < b for a, b in itertools.pairwise(levels))
        if not levels or not rising or not all(0 < q < 1 for q in levels):
            raise ValueError(f"QuantileRegressor: quantiles must be rising levels in (0, 1), got {tuple(quantiles)!r}")
        super().__init__(body, in_features, out_features, len(levels) * (out_features or 1))
        self.quantiles = tuple(levels)
        self.register_buffer("levels", self.head.weight.new_tensor(levels), persistent=False)
        # To begin with, those of a standard normal distribution: that of standardised targets, roughly.
        normal = torch.special.ndtri(torch.tensor(levels, dtype=torch.float64))
        start = [float(normal[0]), *(inverse_softplus(float(step)) for step in normal.diff())]
        with torch.no_grad():
            self.head.bias.copy_(self.head.bias.new_tensor(start).repeat(out_features or 1))

    def forward(self, x: Tensor) -> Tensor:
        """The quantiles, `[batch, out_features, num_quantiles]` or `[batch, num_quantiles]`."""
        raw = self.head(self.features(x))
        if self.out_features is not None:
            raw = raw.unflatten(-1, (self.out_features, len(self.quantiles)))
        first, steps = raw[..., :1], F.softplus(raw[..., 1:])
        standard = torch.cat([first, first + steps.cumsum(-1)], -1)
        return self.targets.inverse(standard.movedim(-1, 0)).movedim(0, -1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The pinball loss: its expectation is least at the quantiles.

        Args:
            x: inputs, `[batch, ...]`.
            y: targets, `[batch, out_features]` or `[batch]`.

        Returns:
            Scalar tensor in the targets' units: the mean over the batch and the levels, summed over a target's entries.

        Raises:
            TypeError: if data are not tensors, or targets are not floating.
            ValueError: if shapes do not fit, or values are NaN or infinite.
        """
        x, y = self._checked(x, y)
        error = y.unsqueeze(-1) - self(x)
        pinball = torch.maximum(self.levels * error, (self.levels - 1) * error).mean(-1)
        return pinball.flatten(1).sum(-1).mean() if self.out_features is not None else pinball.mean()

    @torch.no_grad()
    def predict_quantiles(self, x: Tensor, quantiles: Sequence[float] | None = None) -> Tensor:
        """Quantiles in eval mode, without gradients.

        Args:
            x: inputs, `[batch, ...]`.
            quantiles: which of the trained levels. Default: all.

        Returns:
            Tensor `[batch, out_features, num_quantiles]` or `[batch, num_quantiles]`.

        Raises:
            ValueError: if a level was not trained.
        """
        index = [self._index(level) for level in (self.quantiles if quantiles is None else quantiles)]
        with eval_mode(self):
            found: Tensor = self(x)[..., index]
        return found

    def predict_interval(self, x: Tensor, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
        """The central interval that is to hold a target with probability `coverage`.

        Args:
            x: inputs, `[batch, ...]`.
            coverage: the probability; the levels `(1 - coverage) / 2` and `(1 + coverage) / 2` must be trained.

        Returns:
            Lower and upper ends, each `[batch, out_features]` or `[batch]`.

        Raises:
            ValueError: if a level was not trained.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"QuantileRegressor: coverage must be in (0, 1), got {coverage!r}")
        lower, upper = self.predict_quantiles(x, ((1 - coverage) / 2, (1 + coverage) / 2)).unbind(-1)
        return lower, upper

    def interval_coverage(self, x: Tensor, y: Tensor, coverage: float = 0.9) -> Tensor:
        """The fraction of targets that lie within `predict_interval`, `[out_features]` or a scalar.

        Args:
            x: inputs, `[batch, ...]`.
            y: targets, `[batch, out_features]` or `[batch]`.
            coverage: the probability that is claimed.

        Raises:
            TypeError: if data are not tensors, or targets are not floating.
            ValueError: if shapes do not fit, values are NaN or infinite, or a level was not trained.
        """
        x, y = self._checked(x, y)
        lower, upper = self.predict_interval(x, coverage)
        return ((lower <= y) & (y <= upper)).to(y.dtype).mean(0)

    def _index(self, level: Any) -> int:
        for i, trained in enumerate(self.quantiles):
            if math.isclose(trained, float(level), abs_tol=1e-6):
                return i
        raise ValueError(
            f"QuantileRegressor: the level {level:.6g} was not trained; there are {self.quantiles}: add it"
        )

    def _check_fit(self) -> None:
        if next(random_parameters(self), None) is not None:
            raise ValueError(
                "QuantileRegressor: the pinball loss is no likelihood, so that no bound holds for random weights; use "
                "HeteroscedasticRegressor or MixtureDensityNetwork, or train ordinary weights"
            )
