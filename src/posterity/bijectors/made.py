"""A network of which each output sees only the inputs before it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posterity.bijectors.mlp import joined


class MADE(nn.Module):
    """Dense layers masked so that the outputs of feature i depend on the features that come before it, and no other.

    Every hidden unit has a degree, d: it sees the inputs of place at most d, and serves the outputs of a later place.
    The context is seen by all outputs. SiLU is between the layers, and the last layer starts at 0, so that a flow
    starts as the identity map. (Germain, Gregor, Murray and Larochelle 2015, "MADE", section 4.)

    Args:
        features: D, the number of inputs.
        out_per_feature: P, how many outputs belong to each input.
        hidden_features: The widths of the hidden layers.
        context_features: The size of the context; 0 for none.
        order: The place of each feature, an order of 0 to D-1; the natural one by default.

    Raises:
        ValueError: `order` is no such order.

    Example:
        >>> import torch
        >>> from posterity.bijectors import MADE
        >>> MADE(3, out_per_feature=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 3, 2])
    """

    order: Tensor

    def __init__(
        self,
        features: int,
        out_per_feature: int = 1,
        hidden_features: Sequence[int] = (64, 64),
        context_features: int = 0,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        places = list(range(features)) if order is None else [int(i) for i in order]
        if sorted(places) != list(range(features)):
            raise ValueError(f"order of MADE must hold each of 0 to {features - 1} once, but is {tuple(places)}.")
        self.register_buffer("order", torch.tensor(places, dtype=torch.int64), persistent=False)
        self.features, self.out_per_feature, self.context_features = features, out_per_feature, context_features
        self._places = tuple(places)
        # Degree -1 stands before all features: what only sees the context, and serves the first feature too.
        first = -1 if context_features else 0
        degrees = torch.tensor(places + [-1] * context_features)
        layers: list[nn.Module] = []
        units: list[list[int]] = []
        for width in hidden_features:
            # In ascending order, so that the units of a degree lie beside each other.
            after = first + (torch.arange(width) % max(features - 1 - first, 1)).sort().values
            layers += [MaskedLinear(after[:, None] >= degrees), nn.SiLU()]
            degrees = after
            units.append(torch.bincount(after - first, minlength=features).tolist())
        outputs = torch.tensor(places).repeat_interleave(out_per_feature)
        last = MaskedLinear(outputs[:, None] > degrees)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)
        # How many units of each degree, from the first, a hidden layer has.
        self._units, self._first = units, first

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`[*batch, D, P]` of `[*batch, D]` and, where there is one, a context `[*batch, context_features]`."""
        output: Tensor = self.layers(joined(x, context))
        return output.reshape(*output.shape[:-1], self.features, self.out_per_feature)

    def one_by_one(self, rows: int, context: Tensor | None = None) -> "OneByOne":
        """A pass of which the outputs of a feature are there as soon as the features before it are known.

        Args:
            rows: N, how many rows the pass is for.
            context: `[N, context_features]`, where there is one.
        """
        return OneByOne(self, rows, context)


class OneByOne:
    """A pass of a `MADE` along the order of its features: all of them together cost about as much as one `forward`.

    A unit is computed when the last input that it sees is known, and its part is added to what comes after it. What
    is done with is cut off, so that the cut connections are never met.

    Args:
        network: The network.
        rows: N, the number of rows.
        context: `[N, context_features]`; None without one.

    Attributes:
        order: The features in the order in which they are taken.

    Example:
        >>> import torch
        >>> network = MADE(3, out_per_feature=2)
        >>> one_by_one = network.one_by_one(5)
        >>> for _ in range(3):
        ...     outputs = one_by_one.outputs()
        ...     one_by_one.add(torch.zeros(5))
        >>> outputs.shape
        torch.Size([5, 2])
    """

    def __init__(self, network: MADE, rows: int, context: Tensor | None) -> None:
        dense = [layer for layer in network.layers if isinstance(layer, MaskedLinear)]
        self._weights: list[Tensor] = [layer.weight for layer in dense]
        self._per_feature, self._units, self._place = network.out_per_feature, network._units, 0
        # Inputs in the order of their places, and the outputs likewise.
        features = sorted(range(network.features), key=network._places.__getitem__)
        self.order = features
        order = torch.argsort(network.order)
        last = dense[-1]
        index = (order[:, None] * self._per_feature + torch.arange(self._per_feature, device=order.device)).flatten()
        self._weights[-1] = last.weight.index_select(0, index)
        biases = [*(layer.bias for layer in dense[:-1]), last.bias.index_select(0, index)]
        self._inputs = dense[0].weight if len(dense) > 1 else self._weights[-1]
        self._sums = [bias.expand(rows, -1) for bias in biases]
        self._starts, self._degree = [0] * len(network._units), 0
        if context is not None:
            self._sums[0] = torch.addmm(self._sums[0], context, self._inputs[:, network.features :].t())
            self._finish_units()

    def outputs(self) -> Tensor:
        """`[N, P]`: those of the next feature in the order."""
        return self._sums[-1][:, : self._per_feature]

    def add(self, x: Tensor) -> None:
        """Take in that feature's values, `[N]`."""
        feature = self.order[self._place]
        self._sums[-1] = self._sums[-1][:, self._per_feature :]
        self._place += 1
        if self._place == len(self.order):
            return
        weights = _last(self._inputs, self._sums[0].shape[1])[:, feature]
        self._sums[0] = torch.addcmul(self._sums[0], x.unsqueeze(-1), weights)
        self._finish_units()

    def _finish_units(self) -> None:
        """Compute the units of the lowest degree that is left."""
        for i, counts in enumerate(self._units):
            number, start = counts[self._degree], self._starts[i]
            if not number:
                continue
            active = F.silu(self._sums[i][:, :number])
            self._sums[i] = self._sums[i][:, number:]
            self._starts[i] = start + number
            weights = _last(self._weights[i + 1], self._sums[i + 1].shape[1])[:, start : start + number]
            self._sums[i + 1] = torch.addmm(self._sums[i + 1], active, weights.t())
        self._degree += 1


def _last(rows: Tensor, number: int) -> Tensor:
    return rows[len(rows) - number :]


class MaskedLinear(nn.Module):
    """A dense layer, some of whose connections are cut.

    Args:
        mask: `[out_features, in_features]`, True where there is a connection.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        # Of the weight's dtype: a product with booleans would convert them every time.
        self.register_buffer("mask", mask.to(torch.get_default_dtype()), persistent=False)
        # What nn.Linear starts from, with the connections that there are as the fan-in.
        spread = mask.sum(-1, keepdim=True).clamp(min=1).to(torch.get_default_dtype()).rsqrt()
        self.weight = nn.Parameter((2 * torch.rand(mask.shape) - 1) * spread)
        self.bias = nn.Parameter((2 * torch.rand(mask.shape[0]) - 1) * spread.squeeze(-1))

    def forward(self, x: Tensor) -> Tensor:
        """`[*batch, out_features]` of `[*batch, in_features]`."""
        output: Tensor = F.linear(x, self.weight * self.mask, self.bias)
        return output

    def extra_repr(self) -> str:
        """The sizes."""
        return f"in_features={self.mask.shape[1]}, out_features={self.mask.shape[0]}"
