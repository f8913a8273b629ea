"""Standardised inputs and targets inside a network: trained on numbers near one, asked in the units of the data."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Standardization(nn.Module):
    """The map `(x - loc) / scale`, with location and scale measured once and saved with the network.

    Until `measure` is called it is the identity.

    Example:
        >>> standardize = Standardization()
        >>> standardize.measure(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
        >>> standardize(torch.tensor([[2.0, 20.0]])), standardize.inverse(torch.ones(1, 2))
        (tensor([[0., 0.]]), tensor([[ 3., 30.]]))
    """

    loc: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def measure(self, data: Tensor) -> None:
        """Take mean and standard deviation of `[num_examples, ...]`.

        Each column of a matrix has its own; images, sequences and single numbers have one for all entries, since
        their neighbours are the same kind of number. A constant column keeps its scale.
        """
        data = data.to(self.loc)
        over = (0,) if data.dim() == 2 else tuple(range(data.dim()))
        scale = data.std(over, correction=0)
        self.loc = data.mean(over)
        # Below its rounding a spread says nothing.
        resolved = scale > 10 * torch.finfo(data.dtype).eps * data.abs().amax(over)
        self.scale = torch.where(resolved, scale, torch.ones_like(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised data; whole numbers, such as tokens, stay as they are."""
        return (x - self.loc) / self.scale if x.is_floating_point() else x

    def inverse(self, z: Tensor) -> Tensor:
        """What standardises to `z`."""
        return self.loc + self.scale * z

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name in ("loc", "scale"):
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor):
                own = getattr(self, name)
                setattr(self, name, own.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
