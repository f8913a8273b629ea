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
        self.features, self.out_per_feature = features, out_per_feature
        # Degree -1 stands before all features: what only sees the context, and serves the first feature too.
        first = -1 if context_features else 0
        degrees = torch.tensor(places + [-1] * context_features)
        layers: list[nn.Module] = []
        for width in hidden_features:
            after = first + torch.arange(width) % max(features - 1 - first, 1)
            layers += [MaskedLinear(after[:, None] >= degrees), nn.SiLU()]
            degrees = after
        outputs = torch.tensor(places).repeat_interleave(out_per_feature)
        last = MaskedLinear(outputs[:, None] > degrees)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`[*batch, D, P]` of `[*batch, D]` and, where there is one, a context `[*batch, context_features]`."""
        output: Tensor = self.layers(joined(x, context))
        return output.reshape(*output.shape[:-1], self.features, self.out_per_feature)


class MaskedLinear(nn.Module):
    """A dense layer, some of whose connections are cut.

    Args:
        mask: `[out_features, in_features]`, True where there is a connection.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
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
