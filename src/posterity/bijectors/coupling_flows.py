"""Flows of coupling layers, in one line each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.bijectors.alternating_couplings import AlternatingCouplings
from posterity.bijectors.base import Bijector
from posterity.bijectors.coupling import Coupling
from posterity.bijectors.flow import Flow
from posterity.bijectors.mlp import MLP
from posterity.bijectors.scale_matvec import ScaleMatvecDiag
from posterity.bijectors.trainable import Trainable
from posterity.bijectors.transformers import AdditiveTransformer, AffineTransformer, SplineTransformer, Transformer


class RealNVP(AlternatingCouplings):
    """Affine coupling layers: one pass in either direction.

    Layers keep the even and the odd entries in turn. The flow starts as the identity. (Dinh, Sohl-Dickstein and
    Bengio 2017, "Density estimation using Real NVP".)

    Args:
        features: The size of the vectors, at least 2.
        num_layers: How many coupling layers.
        hidden_features: The widths of the hidden layers of each conditioner, an `MLP`.
        context_features: The size of the context; 0 for none.

    Raises:
        ValueError: There is a single feature, or no layer.

    Example:
        >>> import torch
        >>> from posterity.bijectors import RealNVP
        >>> flow = RealNVP(2, context_features=3).condition(torch.zeros(5, 3))
        >>> flow.inverse(flow(torch.ones(5, 2))).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 8,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
    ) -> None:
        super().__init__(
            _layers("RealNVP", features, num_layers, hidden_features, context_features, AffineTransformer())
        )


class NICE(Flow):
    """Additive coupling layers and a diagonal scale: its log-det is the same everywhere.

    Layers keep the even and the odd entries in turn. (Dinh, Krueger and Bengio 2015, "NICE", sections 3.2 and 3.3.)

    Arguments and errors are those of `RealNVP`.

    Example:
        >>> import torch
        >>> from posterity.bijectors import NICE
        >>> NICE(2)(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 4,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
    ) -> None:
        layers = _layers("NICE", features, num_layers, hidden_features, context_features, AdditiveTransformer())
        super().__init__([*layers, Trainable(_exponential_diagonal, log_scale=torch.zeros(features))])


class NeuralSplineFlow(AlternatingCouplings):
    """Coupling layers of rational-quadratic splines: one pass in either direction, and more flexible than `RealNVP`.

    Layers keep the even and the odd entries in turn. The flow starts as the identity, and is the identity far
    outside [-bound, bound]. (Durkan, Bekasov, Murray and Papamakarios 2019, "Neural Spline Flows".)

    The other arguments and the errors are those of `RealNVP`.

    Args:
        num_bins: How many bins a spline has.
        bound: Where the splines end; data should be standardised to lie within.

    Example:
        >>> import torch
        >>> from posterity.bijectors import NeuralSplineFlow
        >>> NeuralSplineFlow(2).inverse(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 4,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        num_bins: int = 8,
        bound: float = 5.0,
    ) -> None:
        transformer = SplineTransformer(num_bins, bound)
        super().__init__(
            _layers("NeuralSplineFlow", features, num_layers, hidden_features, context_features, transformer)
        )


def _layers(
    owner: str,
    features: int,
    num_layers: int,
    hidden_features: Sequence[int],
    context_features: int,
    transformer: Transformer,
) -> list[Coupling]:
    if features < 2:
        raise ValueError(f"{owner} needs at least 2 features, one to keep and one to change, but has {features}.")
    if num_layers < 1:
        raise ValueError(f"num_layers of {owner} must be at least 1, but is {num_layers}.")
    layers: list[Coupling] = []
    for layer in range(num_layers):
        mask = [(i + layer) % 2 == 0 for i in range(features)]
        outputs = (features - sum(mask)) * transformer.parameters_per_feature
        conditioner = MLP(sum(mask), outputs, hidden_features, context_features)
        layers.append(Coupling(mask, conditioner, transformer, context_features=context_features))
    return layers


def _exponential_diagonal(log_scale: Tensor) -> Bijector:
    return ScaleMatvecDiag(log_scale.exp())
