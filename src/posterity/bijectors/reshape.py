"""Events in another shape."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class Reshape(Bijector):
    """The entries of an event in another shape, in row-major order.

    Args:
        in_shape: The event shape of the input.
        out_shape: The event shape of the output, of as many entries.

    Raises:
        ValueError: The numbers of entries differ.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Reshape
        >>> Reshape((6,), (2, 3))(torch.zeros(5, 6)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape, self.out_shape = torch.Size(in_shape), torch.Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError(
                f"in_shape {tuple(self.in_shape)} and out_shape {tuple(self.out_shape)} of Reshape must have equally "
                f"many entries, not {self.in_shape.numel()} and {self.out_shape.numel()}."
            )
        self.domain = constraints.independent(constraints.real, len(self.in_shape))
        self.codomain = constraints.independent(constraints.real, len(self.out_shape))

    def _forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[: x.dim() - len(self.in_shape)] + self.out_shape)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.reshape(y.shape[: y.dim() - len(self.out_shape)] + self.in_shape)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - len(self.in_shape)])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return y.new_zeros(y.shape[: y.dim() - len(self.out_shape)])

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return self._swapped("input", shape, self.in_shape, self.out_shape)

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        return self._swapped("output", shape, self.out_shape, self.in_shape)

    def _swapped(self, what: str, shape: torch.Size, expected: torch.Size, result: torch.Size) -> torch.Size:
        if shape != expected:
            raise ValueError(f"{what} of Reshape must have the event shape {tuple(expected)}, not {tuple(shape)}.")
        return result
