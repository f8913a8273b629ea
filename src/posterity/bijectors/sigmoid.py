"""The logistic curve onto an interval."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import Parameter, batch_shape, holds, next_above, next_below, real_parameter
from posterity.bijectors.softplus import softplus


class Sigmoid(Bijector):
    """y = low + (high - low) / (1 + exp(-x)), from the line onto an interval.

    Images stay strictly inside the interval: those that round to an end are the nearest number within. The inverse
    takes an end for that number, so that it and the log-dets are finite for every finite input; in float32 an x
    beyond 16.6 is recovered by `with_cache()` only.

    Args:
        low: The lower end: a number, or a tensor of the batch shape.
        high: The upper end.

    Raises:
        ValueError: `low` is not less than `high`, or the shapes do not broadcast.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Sigmoid
        >>> Sigmoid(low=-1.0, high=3.0)(torch.tensor(0.0))
        tensor(1.)
        >>> Sigmoid().forward_log_det_jacobian(torch.tensor(200.0))
        tensor(-200.)
    """

    domain = constraints.real
    _increasing = 1

    def __init__(self, low: Parameter = 0.0, high: Parameter = 1.0) -> None:
        super().__init__()
        self.low = real_parameter("Sigmoid", "low", low)
        self.high = real_parameter("Sigmoid", "high", high)
        batch_shape("Sigmoid", low=self.low, high=self.high)
        if not holds(self.low < self.high):
            raise ValueError(f"low of Sigmoid must be less than high, but low is {low} and high is {high}.")
        self.codomain = constraints.interval(self.low, self.high)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape that `low` and `high` broadcast to."""
        return batch_shape("Sigmoid", low=self.low, high=self.high)

    @property
    def _onto_the_unit(self) -> bool:
        return isinstance(self.low, float) and isinstance(self.high, float) and (self.low, self.high) == (0.0, 1.0)

    def _forward(self, x: Tensor) -> Tensor:
        if self._onto_the_unit:
            return _inside_the_unit(torch.sigmoid(x))
        low, high = self._ends(x)
        width = high - low
        # From the nearer end, where the distance to it is accurate.
        y = torch.where(x < 0, low + width * torch.sigmoid(x), high - width * torch.sigmoid(-x))
        return torch.clamp(y, next_above(low), next_below(high))

    def _inverse(self, y: Tensor) -> Tensor:
        below, above = self._gaps(y)
        return below.log() - above.log()

    def _forward_log_det(self, x: Tensor) -> Tensor:
        log_slope = -softplus(x) - softplus(-x)
        if self._onto_the_unit:
            return log_slope
        low, high = self._ends(x)
        return (high - low).log() + log_slope

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        below, above = self._gaps(y)
        if self._onto_the_unit:
            return -below.log() - above.log()
        low, high = self._ends(y)
        return (high - low).log() - below.log() - above.log()

    def _gaps(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if self._onto_the_unit:
            y = _inside_the_unit(y)
            return y, 1 - y
        low, high = self._ends(y)
        y = torch.clamp(y, next_above(low), next_below(high))
        return y - low, high - y

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (end if isinstance(end, Tensor) else like.new_full((), end) for end in (self.low, self.high))
        return low, high


def _inside_the_unit(y: Tensor) -> Tensor:
    info = torch.finfo(y.dtype)
    return y.clamp(info.tiny, 1 - info.eps / 2)
