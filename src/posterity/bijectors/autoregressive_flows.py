"""Flows of masked autoregressive layers, in one line each."""

from collections.abc import Sequence

from posterity.bijectors.autoregressive import Autoregressive
from posterity.bijectors.flow import Flow
from posterity.bijectors.made import MADE
from posterity.bijectors.transformers import AffineTransformer, Transformer


class MAF(Flow):
    """A flow for densities: `inverse`, from data to noise, is one pass, and `forward` goes from feature to feature.

    So `MAF(d)(base).log_prob(data)` is fast and draws are slow; `IAF` has it the other way round. The order of the
    features is reversed from layer to layer. The flow starts as the identity. (Papamakarios, Pavlakou and Murray
    2017, "Masked Autoregressive Flow for Density Estimation".)

    Args:
        features: The size of the vectors.
        num_layers: How many autoregressive layers.
        hidden_features: The widths of the hidden layers of each conditioner, a `MADE`.
        context_features: The size of the context; 0 for none.
        transformer: The elementwise map; `AffineTransformer()` by default, `SplineTransformer()` is more flexible.

    Raises:
        ValueError: There is no layer.

    Example:
        >>> import torch
        >>> from posterity.bijectors import MAF
        >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
        >>> MAF(2)(base).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 5,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        transformer: Transformer | None = None,
    ) -> None:
        layers = _layers("MAF", features, num_layers, hidden_features, context_features, transformer)
        super().__init__([layer.inv for layer in layers])


class IAF(Flow):
    """A flow to draw from: `forward`, from noise to samples, is one pass, and `inverse` as many as features.

    It suits the approximate posterior of variational inference, whose draws need their own density only. The order
    of the features is reversed from layer to layer. The flow starts as the identity. (Kingma et al. 2016, "Improved
    Variational Inference with Inverse Autoregressive Flow".)

    Arguments and errors are those of `MAF`.

    Example:
        >>> import torch
        >>> from posterity.bijectors import IAF
        >>> y, log_det = IAF(2).forward_and_log_det(torch.zeros(5, 2))
        >>> y.shape, log_det.shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        features: int,
        num_layers: int = 5,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        transformer: Transformer | None = None,
    ) -> None:
        super().__init__(_layers("IAF", features, num_layers, hidden_features, context_features, transformer))


def _layers(
    owner: str,
    features: int,
    num_layers: int,
    hidden_features: Sequence[int],
    context_features: int,
    transformer: Transformer | None,
) -> list[Autoregressive]:
    if num_layers < 1:
        raise ValueError(f"num_layers of {owner} must be at least 1, but is {num_layers}.")
    transformer = AffineTransformer() if transformer is None else transformer
    layers = []
    for layer in range(num_layers):
        order = range(features) if layer % 2 == 0 else range(features - 1, -1, -1)
        conditioner = MADE(features, transformer.parameters_per_feature, hidden_features, context_features, order)
        layers.append(Autoregressive(features, conditioner, transformer, context_features=context_features))
    return layers
