"""Mixture density networks: the parameters of a mixture as a function of the input."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from posterity import distributions as dist
from posterity.networks.checks import check_count
from posterity.networks.families import Family, LocationScale
from posterity.networks.regressor import Regressor, inverse_softplus


class MixtureDensityNetwork(Regressor):
    """A network whose output is a mixture of distributions, for targets with several possible values.

    `posterity.predict(..., task="regression")`, `bayesianize` and `elbo_loss` take it as it is.

    Args:
        body: any module that gives features `[batch, in_features]`.
        in_features: the width of those features.
        out_features: targets are vectors `[batch, out_features]`, whose entries are independent within a component;
            None: single numbers, `[batch]`.
        num_components: the mixture's components.
        family: theirs: `"normal"`, `"student_t"` (with trained degrees of freedom for each component), `"laplace"`,
            `"logistic"`, or a function from location and scale to a distribution.
        min_scale: the least scale, in units of the targets' standard deviation: a component that shrinks onto one
            target would have no greatest likelihood.

    Raises:
        TypeError: if `body` is not a module, or `family` not a family.
        ValueError: if a width does not fit, a number is not positive, or the family is unknown.

    Source: Bishop (1994), "Mixture density networks", equations 22 to 28.

    Example:
        >>> import torch
        >>> net = MixtureDensityNetwork(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), 8, num_components=3)
        >>> x, y = torch.randn(5, 4), torch.randn(5)
        >>> net(x).mixture_distribution.probs.shape, net.loss(x, y).shape
        (torch.Size([5, 3]), torch.Size([]))
    """

    def __init__(
        self,
        body: nn.Module,
        in_features: int,
        out_features: int | None = None,
        num_components: int = 5,
        *,
        family: Family = "normal",
        min_scale: float = 1e-3,
    ) -> None:
        if out_features is not None:
            check_count("MixtureDensityNetwork", "out_features", out_features)
        check_count("MixtureDensityNetwork", "num_components", num_components)
        if not 0 < min_scale < math.inf:
            raise ValueError(f"MixtureDensityNetwork: min_scale must be positive, got {min_scale!r}")
        width = num_components * (out_features or 1)
        super().__init__(body, in_features, out_features, num_components + 2 * width)
        self.num_components, self.min_scale = num_components, min_scale
        event = () if out_features is None else (out_features,)
        self.family = LocationScale(family, (num_components, *event))
        # Components begin apart, over the spread of standardised targets.
        logits, loc, raw_scale = self.head.bias.detach().split([num_components, width, width])
        nn.init.zeros_(logits)
        nn.init.normal_(loc)
        nn.init.constant_(raw_scale, inverse_softplus(1.0))

    def forward(self, x: Tensor) -> dist.MixtureSameFamily:
        """The distribution of the targets, with batch shape `[batch]` and events `[out_features]`, or scalar ones."""
        outputs = self.head(self.features(x))
        rest = (outputs.shape[-1] - self.num_components) // 2
        logits, loc, raw_scale = outputs.split([self.num_components, rest, rest], -1)
        if self.out_features is not None:
            loc, raw_scale = (t.unflatten(-1, (self.num_components, self.out_features)) for t in (loc, raw_scale))
        scale = self.targets.scale * (self.min_scale + F.softplus(raw_scale))
        components = self.family(self.targets.inverse(loc), scale)
        if self.out_features is not None:
            components = components.to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean negative log-likelihood of a batch, in nats per example.

        Args:
            x: inputs, `[batch, ...]`.
            y: targets, `[batch, out_features]` or `[batch]`.

        Returns:
            Scalar tensor.

        Raises:
            TypeError: if data are not tensors, or targets are not floating.
            ValueError: if shapes do not fit, or values are NaN or infinite.
        """
        x, y = self._checked(x, y)
        nll: Tensor = -self(x).log_prob(y)
        return nll.mean()
