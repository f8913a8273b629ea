"""Regression whose noise depends on the input: a network gives a location and a scale."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from posterity import distributions as dist
from posterity.networks.checks import check_count
from posterity.networks.families import Family, LocationScale
from posterity.networks.regressor import Regressor, inverse_softplus
from posterity.nn import random_parameters


class HeteroscedasticRegressor(Regressor):
    """A network whose output is a distribution with a location and a scale for each input.

    `posterity.predict(..., task="regression")`, `bayesianize` and `elbo_loss` take it as it is.

    Args:
        body: any module that gives features `[batch, in_features]`.
        in_features: the width of those features.
        out_features: targets are vectors `[batch, out_features]`, independent given the input; None: single numbers,
            `[batch]`.
        family: `"normal"`, `"student_t"` (its degrees of freedom are trained), `"laplace"`, `"logistic"`, or a
            function from location and scale to a distribution.
        beta: 0 (default) trains by the likelihood itself, which is what makes `elbo_loss` a bound and stated
            scales calibrated. With 0 < beta <= 1 each term is weighted by its variance to the power beta: large noise
            then no longer keeps the mean from being learned, and 1 gives the gradients of least squares to the
            mean, but the loss is no likelihood.
        min_scale: the least scale, in units of the targets' standard deviation: a likelihood has no maximum where a
            scale can reach zero.

    Raises:
        TypeError: if `body` is not a module, or `family` not a family.
        ValueError: if a width does not fit, `beta` is not in [0, 1], `min_scale` is not positive, or the family is
            unknown.

    Source: Nix and Weigend (1994), "Estimating the mean and variance of the target probability distribution"; beta:
    Seitzer, Tavakoli, Antic, Martius (2022), "On the pitfalls of heteroscedastic uncertainty estimation with
    probabilistic neural networks", equation 5.

    Example:
        >>> import torch
        >>> net = HeteroscedasticRegressor(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), 8)
        >>> x, y = torch.randn(5, 4), torch.randn(5)
        >>> net(x).stddev.shape, net.loss(x, y).shape
        (torch.Size([5]), torch.Size([]))
    """

    def __init__(
        self,
        body: nn.Module,
        in_features: int,
        out_features: int | None = None,
        *,
        family: Family = "normal",
        beta: float = 0.0,
        min_scale: float = 1e-3,
    ) -> None:
        if out_features is not None:
            check_count("HeteroscedasticRegressor", "out_features", out_features)
        if not 0 <= beta <= 1:
            raise ValueError(f"HeteroscedasticRegressor: beta must be in [0, 1], got {beta!r}")
        if not 0 < min_scale < math.inf:
            raise ValueError(f"HeteroscedasticRegressor: min_scale must be positive, got {min_scale!r}")
        width = out_features or 1
        super().__init__(body, in_features, out_features, 2 * width)
        self.family = LocationScale(family, () if out_features is None else (out_features,))
        self.beta, self.min_scale = beta, min_scale
        # A scale of one, that of standardised targets, to begin with.
        nn.init.constant_(self.head.bias[width:].detach(), inverse_softplus(1.0))

    def forward(self, x: Tensor) -> dist.Distribution:
        """The distribution of the targets, with batch shape `[batch, out_features]` or `[batch]`."""
        loc, raw_scale = self.head(self.features(x)).chunk(2, -1)
        if self.out_features is None:
            loc, raw_scale = loc.squeeze(-1), raw_scale.squeeze(-1)
        return self.family(self.targets.inverse(loc), self.targets.scale * (self.min_scale + F.softplus(raw_scale)))  # type: ignore[no-any-return]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch of the negative log-likelihood, summed over a target's entries; weighted by `beta`.

        Args:
            x: inputs, `[batch, ...]`.
            y: targets, `[batch, out_features]` or `[batch]`.

        Returns:
            Scalar tensor, in nats where `beta` is 0.

        Raises:
            TypeError: if data are not tensors, or targets are not floating.
            ValueError: if shapes do not fit, or values are NaN or infinite.
        """
        x, y = self._checked(x, y)
        predicted = self(x)
        nll: Tensor = -predicted.log_prob(y)
        if self.beta:
            nll = nll * (predicted.stddev.detach() / self.targets.scale).pow(2 * self.beta)
        return nll.flatten(1).sum(-1).mean() if self.out_features is not None else nll.mean()

    def _check_fit(self) -> None:
        if self.beta and next(random_parameters(self), None) is not None:
            raise ValueError(
                f"HeteroscedasticRegressor: beta={self.beta} weights the likelihood, so that no bound holds for random "
                "weights; set beta to 0"
            )
