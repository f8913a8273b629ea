"""The Bayesian dense layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posterity.nn.estimators import flipout, local
from posterity.nn.layers import BayesianLayer, make_random, uses_estimator
from posterity.nn.posteriors import Posterior
from posterity.nn.priors import PriorLike
from posterity.nn.random_module import estimating_classes, with_draw


class Linear(BayesianLayer, nn.Linear):
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


estimating_classes[nn.Linear] = Linear
