"""The Bayesian dense layer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posterity.nn.estimators import flipout, local
from posterity.nn.layers import make_random, uses_estimator
from posterity.nn.posteriors import Posterior
from posterity.nn.priors import PriorLike
from posterity.nn.random_module import (
    RandomModule,
    estimating_classes,
    random_property,
    reset_parameters,
    with_draw,
)


class Linear(RandomModule, nn.Linear):
    """`torch.nn.Linear` whose weight and bias are distributions.

    Args:
        in_features: size of each input vector.
        out_features: size of each output vector.
        bias: whether there is a bias.
        device: where the parameters live.
        dtype: their dtype.
        prior: a distribution over single numbers (`Normal(0, 1)`), a `Prior`, or `"pretrained"`. Default: `FanIn()`.
        posterior: the family. Default: `MeanFieldNormal()`.
        estimator: `"reparam"` (one weight draw per forward), `"flipout"` (the same, decorrelated between examples)
            or `"local"` (draws the output; for vectors, `[batch, features]`, only).

    Raises:
        ValueError: for an unknown estimator, a `"local"` layer on sequences (at the call), or a prior whose shape
            does not fit.
        TypeError: for something that is not a prior or a posterior.

    Source: Blundell et al. (2015), "Weight uncertainty in neural networks".

    Example:
        >>> from posterity import nn as bnn
        >>> layer = bnn.Linear(3, 2)
        >>> layer(torch.ones(5, 3)).shape, isinstance(layer, torch.nn.Linear)
        (torch.Size([5, 2]), True)
        >>> sorted(name for name, _ in layer.named_parameters())
        ['bias_loc', 'bias_rho', 'weight_loc', 'weight_rho']
    """

    _estimators = ("reparam", "flipout", "local")

    weight: Any = random_property("weight")
    bias: Any = random_property("bias")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        prior: PriorLike | None = None,
        posterior: Posterior | None = None,
        estimator: str = "reparam",
    ) -> None:
        super().__init__(in_features, out_features, bias=bias, device=device, dtype=dtype)
        make_random(self, prior, posterior, estimator)

    @with_draw
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The layer's output for `[..., in_features]`: `[..., out_features]`."""
        if not uses_estimator(self):
            return super().forward(input)
        if self._estimator == "local":
            return local(self, input, F.linear)
        return flipout(self, input, F.linear, unbatched_dim=1, channel_dim=-1)

    def reset_parameters(self) -> None:
        """The initialisation of torch, applied to the posterior means; spreads and priors are made anew."""
        if "_random" in self.__dict__:
            reset_parameters(self)
        else:
            super().reset_parameters()


estimating_classes[nn.Linear] = Linear
