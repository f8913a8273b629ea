"""The exponential curve onto everything above a bound, or below it."""

from typing import Any

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import Parameter, batch_shape, next_above, next_below, real_parameter


class HalfLine(Bijector):
    """y = bound + exp(x), or y = bound - exp(x), from the line onto what lies above or below a bound.

    Images that round to the bound are the nearest number beyond it, and the inverse takes the bound for that number,
    so that both and the log-dets are finite; `with_cache()` recovers such an x.

    Args:
        bound: A number, or a tensor of the batch shape.
        above: Whether the image is above the bound; the map decreases where it is below.

    Example:
        >>> import torch
        >>> from posterity.bijectors import HalfLine
        >>> HalfLine(3.0)(torch.tensor(0.0)), HalfLine(3.0, above=False)(torch.tensor(0.0))
        (tensor(4.), tensor(2.))
    """

    domain = constraints.real

    def __init__(self, bound: Parameter = 0.0, above: bool = True) -> None:
        super().__init__()
        self.bound = real_parameter("HalfLine", "bound", bound)
        self.above = above
        self.codomain = constraints.greater_than(self.bound) if above else constraints.less_than(self.bound)

    @property
    def sign(self) -> Any:
        """1 above the bound, -1 below it."""
        return self._direction

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `bound`."""
        return batch_shape("HalfLine", bound=self.bound)

    @property
    def _direction(self) -> int:
        return 1 if self.above else -1

    def _forward(self, x: Tensor) -> Tensor:
        return self._beyond(self.bound + self._direction * x.exp())

    def _inverse(self, y: Tensor) -> Tensor:
        return (self._direction * (self._beyond(y) - self.bound)).log()

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x + torch.zeros_like(x + self.bound)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._inverse(y)

    def _beyond(self, y: Tensor) -> Tensor:
        bound = self.bound if isinstance(self.bound, Tensor) else y.new_full((), self.bound)
        return y.clamp(min=next_above(bound)) if self.above else y.clamp(max=next_below(bound))
