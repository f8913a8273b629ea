"""The flows that are density models, in one line each."""

from collections.abc import Sequence

from posterity import bijectors
from posterity.bijectors import Bijector, SplineTransformer
from posterity.networks.flows.normalizing_flow import Base, NormalizingFlow


class RealNVP(NormalizingFlow):
    """Affine coupling layers: densities and draws are one pass each.

    Args:
        features: The size of the vectors, at least 2.
        num_layers: How many coupling layers.
        hidden_features: The widths of the hidden layers of each layer's network.
        context_features: The size of the context; 0 for a density without one.
        base: As in `NormalizingFlow`.

    Raises:
        ValueError: There is a single feature, or no layer.

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP".

    Example:
        >>> import torch
        >>> flow = RealNVP(3, context_features=2)
        >>> flow.log_prob(torch.zeros(5, 3), torch.zeros(5, 2)).shape, flow.sample(4, torch.zeros(5, 2)).shape
        (torch.Size([5]), torch.Size([4, 5, 3]))
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 8,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        base: Base | None = None,
    ) -> None:
        _check_sizes("RealNVP", features, num_layers, hidden_features, context_features)
        _refuse_single_feature("RealNVP", features)
        super().__init__(features, bijectors.RealNVP(features, num_layers, hidden_features, context_features), base)


class MAF(NormalizingFlow):
    """Masked autoregressive layers with affine maps: densities in one pass, draws in as many as there are features.

    The order of the features is reversed from layer to layer.

    Arguments are those of `RealNVP`; a single feature is allowed.

    Source: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for density estimation".

    Example:
        >>> import torch
        >>> MAF(3).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 5,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        base: Base | None = None,
    ) -> None:
        _check_sizes("MAF", features, num_layers, hidden_features, context_features)
        super().__init__(features, bijectors.MAF(features, num_layers, hidden_features, context_features), base)


class NeuralSpline(NormalizingFlow):
    """Layers of rational-quadratic splines: the most flexible of the three, for densities with several modes.

    Coupling layers by default, one pass either way; autoregressive ones are more flexible and slow to draw from.

    Args:
        features: The size of the vectors; at least 2 for coupling layers.
        num_layers: How many layers.
        hidden_features: The widths of the hidden layers of each layer's network.
        context_features: The size of the context; 0 for a density without one.
        base: As in `NormalizingFlow`.
        num_bins: How many bins a spline has.
        bound: Where the splines end, in standard deviations of the data; beyond, a layer is the identity.
        autoregressive: Whether layers are masked autoregressive ones, instead of coupling layers.

    Raises:
        ValueError: There is a single feature for coupling layers, no layer, or fewer than 2 bins.

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows".

    Example:
        >>> import torch
        >>> NeuralSpline(1, context_features=2, autoregressive=True).sample(4, torch.zeros(5, 2)).shape
        torch.Size([4, 5, 1])
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 4,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        base: Base | None = None,
        *,
        num_bins: int = 8,
        bound: float = 5.0,
        autoregressive: bool = False,
    ) -> None:
        _check_sizes("NeuralSpline", features, num_layers, hidden_features, context_features)
        if num_bins < 2:
            raise ValueError(f"num_bins of NeuralSpline must be at least 2, but is {num_bins}")
        if not bound > 0:
            raise ValueError(f"bound of NeuralSpline must be positive, but is {bound}")
        flow: Bijector
        if autoregressive:
            transformer = SplineTransformer(num_bins, bound)
            flow = bijectors.MAF(features, num_layers, hidden_features, context_features, transformer)
        else:
            _refuse_single_feature("NeuralSpline", features)
            # Inverted: forward, from noise to data, then is the dearer direction of the splines.
            flow = bijectors.NeuralSplineFlow(
                features, num_layers, hidden_features, context_features, num_bins, bound
            ).inv
        super().__init__(features, flow, base)


def _check_sizes(
    owner: str, features: int, num_layers: int, hidden_features: Sequence[int], context_features: int
) -> None:
    for name, value, least in (
        ("features", features, 1),
        ("num_layers", num_layers, 1),
        ("context_features", context_features, 0),
        *(("a width in hidden_features", width, 1) for width in hidden_features),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} of {owner} must be a whole number of at least {least}, but is {value!r}")


def _refuse_single_feature(owner: str, features: int) -> None:
    if features < 2:
        other = "NeuralSpline(1, autoregressive=True)"
        raise ValueError(
            f"{owner} has coupling layers, which need 2 features, one to keep and one to change: use {other}"
        )
