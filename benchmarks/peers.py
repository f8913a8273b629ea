"""The same network in other libraries, each used as its own documentation uses it, with its own KL."""

from collections.abc import Callable
from typing import Any, NamedTuple

import bayesian_torch.layers as intel
import blitz.modules as blitz
import torchbnn
from bayesian_torch.layers.base_variational_layer import BaseVariationalLayer_
from blitz.losses import kl_divergence_from_nn
from torch import Tensor, nn


class Peer(NamedTuple):
    """A Bayesian network of another library.

    Attributes:
        name: The library's name, and the estimator's where it isn't a plain weight draw.
        network: What holds the parameters.
        draw: The output of one draw, for prediction.
        draw_with_kl: The output of one draw and the KL, for training.
    """

    name: str
    network: nn.Module
    draw: Callable[[Tensor], Tensor]
    draw_with_kl: Callable[[Tensor], tuple[Tensor, Tensor]]


def peers(network: nn.Sequential) -> list[Peer]:
    """The network rebuilt in every peer."""
    return [
        _torchbnn(network),
        _blitz(network),
        _bayesian_torch(network, "Reparameterization"),
        _bayesian_torch(network, "Flipout"),
    ]


def _torchbnn(network: nn.Sequential) -> Peer:
    def convert(layer: nn.Module) -> nn.Module:
        match layer:
            case nn.Linear():
                return torchbnn.BayesLinear(0, 0.1, layer.in_features, layer.out_features)
            case nn.Conv2d():
                return torchbnn.BayesConv2d(0, 0.1, *_channels(layer), layer.kernel_size, padding=layer.padding)
        return layer

    bayesian = nn.Sequential(*map(convert, network))
    kl = torchbnn.BKLLoss(reduction="sum")
    return Peer("torchbnn", bayesian, bayesian, lambda x: (bayesian(x), kl(bayesian)[0]))


def _blitz(network: nn.Sequential) -> Peer:
    def convert(layer: nn.Module) -> nn.Module:
        match layer:
            case nn.Linear():
                return blitz.BayesianLinear(layer.in_features, layer.out_features)
            case nn.Conv2d():
                return blitz.BayesianConv2d(*_channels(layer), layer.kernel_size, padding=layer.padding)
        return layer

    bayesian = nn.Sequential(*map(convert, network))
    return Peer("blitz", bayesian, bayesian, lambda x: (bayesian(x), kl_divergence_from_nn(bayesian)))


def _bayesian_torch(network: nn.Sequential, kind: str) -> Peer:
    def convert(layer: nn.Module) -> nn.Module:
        new: Any = getattr(intel, f"{type(layer).__name__}{kind}", None)
        match layer:
            case nn.Linear():
                return new(layer.in_features, layer.out_features)
            case nn.Conv2d():
                return new(*_channels(layer), layer.kernel_size, padding=layer.padding)
        return layer

    bayesian = nn.Sequential(*map(convert, network))

    def draw(x: Tensor) -> Tensor:
        for layer in bayesian:
            x = layer(x, return_kl=False) if isinstance(layer, BaseVariationalLayer_) else layer(x)
        return x

    def draw_with_kl(x: Tensor) -> tuple[Tensor, Tensor]:
        # Its layers return the KL with the output: cheaper than its `get_kl_loss`, which computes the scales again.
        total = x.new_zeros(())
        for layer in bayesian:
            if isinstance(layer, BaseVariationalLayer_):
                x, kl = layer(x)
                total = total + kl
            else:
                x = layer(x)
        return x, total

    return Peer(f"bayesian-torch {kind}", bayesian, draw, draw_with_kl)


def _channels(layer: nn.Conv2d) -> tuple[int, int]:
    return layer.in_channels, layer.out_channels
