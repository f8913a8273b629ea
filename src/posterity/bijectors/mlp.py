"""The small network that conditions a flow where no other is given."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Dense layers with SiLU between them, which gives a smooth density; an optional context is a second input.

    The last layer starts at 0, so that a flow starts as the identity map.

    Args:
        in_features: The size of the input.
        out_features: The size of the output.
        hidden_features: The widths of the hidden layers.
        context_features: The size of the context; 0 for none.

    Example:
        >>> import torch
        >>> from posterity.bijectors import MLP
        >>> MLP(2, 3, context_features=4)(torch.ones(5, 2), torch.ones(4)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self, in_features: int, out_features: int, hidden_features: Sequence[int] = (64, 64), context_features: int = 0
    ) -> None:
        super().__init__()
        sizes = [in_features + context_features, *hidden_features]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.SiLU()]
        last = nn.Linear(sizes[-1], out_features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`[*batch, out_features]` of `[*batch, in_features]` and, where there is one, `[*batch, context_features]`."""
        output: Tensor = self.layers(joined(x, context))
        return output


def joined(x: Tensor, context: Tensor | None) -> Tensor:
    """The input and the context beside each other, their batches broadcast."""
    if context is None:
        return x
    batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    return torch.cat([x.expand(*batch, x.shape[-1]), context.expand(*batch, context.shape[-1])], -1)
