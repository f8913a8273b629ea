"""Networks of every kind that users bring, each with an input: what conversion must not break."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Case(NamedTuple):
    """How to build a network, what to feed it, and what to give `bayesianize`."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    keywords: dict[str, Any] = {}


class OwnForward(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


class NoForward(nn.Linear):
    pass


class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


class RawParameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))
        self.scalar = nn.Parameter(torch.tensor(0.5))
        self.some = nn.ParameterList([nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))])
        self.named = nn.ParameterDict({"shift": nn.Parameter(torch.ones(8))})

    def forward(self, x):
        return x * self.gain * self.scalar + sum(self.some) + self.named["shift"]


def partly_frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    net[0].requires_grad_(False)
    return net


def tied_modules() -> nn.Module:
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.Tanh(), layer)


def normalised() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 7 * 9, 3))


def vectors() -> tuple[Tensor]:
    return (torch.randn(5, 8),)


def images() -> tuple[Tensor]:
    return (torch.randn(2, 4, 9, 11),)


def sequences() -> tuple[Tensor]:
    return (torch.randn(2, 6, 8),)


def three_sequences() -> tuple[Tensor, Tensor, Tensor]:
    s = torch.randn(2, 6, 8)
    return s, s, s


def _conv(**keywords: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(4, 6, **{"kernel_size": 3, **keywords})


_CONVOLUTIONS = {
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "non-square": {"kernel_size": (3, 5), "stride": (2, 1)},
    "same padding": {"kernel_size": (1, 5), "padding": "same"},
}

CASES: dict[str, Case] = {
    "bare linear": Case(lambda: nn.Linear(8, 3), vectors),
    "float64": Case(lambda: nn.Linear(8, 3).double(), lambda: (torch.randn(5, 8).double(),)),
    "subclass with a forward": Case(lambda: OwnForward(8, 3), vectors),
    "subclass without a forward": Case(lambda: NoForward(8, 3), vectors),
    **{
        f"{name}, {estimator}": Case(make, vectors, {"estimator": estimator})
        for estimator in ("flipout", "local")
        for name, make in {
            "bare linear": lambda: nn.Linear(8, 3),
            "subclass": lambda: NoForward(8, 3),
            "network": lambda: nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)),
        }.items()
    },
    "tied modules": Case(tied_modules, vectors),
    "tied modules, flipout": Case(tied_modules, vectors, {"estimator": "flipout"}),
    "tied weights": Case(TiedWeights, lambda: (torch.tensor([1, 2, 3]),)),
    "embedding": Case(lambda: nn.Embedding(11, 8), lambda: (torch.tensor([[1, 2], [3, 4]]),)),
    **{
        f"conv2d, {name}, {estimator}": Case(_conv(**keywords), images, {"estimator": estimator})
        for name, keywords in _CONVOLUTIONS.items()
        for estimator in ("reparam", "flipout")
    },
    "conv1d, flipout": Case(lambda: nn.Conv1d(4, 6, 3), lambda: (torch.randn(2, 4, 9),), {"estimator": "flipout"}),
    "conv3d, flipout": Case(
        lambda: nn.Conv3d(2, 3, 3), lambda: (torch.randn(2, 2, 5, 5, 5),), {"estimator": "flipout"}
    ),
    "transposed convolution": Case(lambda: nn.ConvTranspose2d(4, 2, 3), images),
    "batch norm": Case(normalised, images),
    "lstm": Case(lambda: nn.LSTM(8, 5, num_layers=2, bidirectional=True, batch_first=True), sequences),
    "gru": Case(lambda: nn.GRU(8, 5), sequences),
    "lstm cell": Case(lambda: nn.LSTMCell(8, 5), vectors),
    "attention": Case(lambda: nn.MultiheadAttention(8, 2, batch_first=True), three_sequences),
    "attention with other keys": Case(
        lambda: nn.MultiheadAttention(8, 2, batch_first=True, kdim=4, vdim=4),
        lambda: (torch.randn(2, 6, 8), torch.randn(2, 6, 4), torch.randn(2, 6, 4)),
    ),
    "encoder layer": Case(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), sequences),
    "encoder": Case(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), sequences
    ),
    "decoder layer": Case(
        lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        lambda: (torch.randn(2, 6, 8), torch.randn(2, 4, 8)),
    ),
    "raw parameters": Case(RawParameters, vectors),
    "partly frozen": Case(partly_frozen, vectors),
}
