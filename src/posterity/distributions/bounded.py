"""What truncated, censored and quantized distributions have in common: a base and two ends that share its batch."""

from typing import Any, Self

from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution


class Bounded(Distribution):
    """A scalar distribution made from a base and the ends `low` and `high`, either of which may be None."""

    base_dist: Distribution
    low: Tensor | None
    high: Tensor | None

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = super().expand(batch_shape, _instance)
        new.base_dist = self.base_dist.expand(new.batch_shape)
        new.low = None if self.low is None else self.low.expand(new.batch_shape)
        new.high = None if self.high is None else self.high.expand(new.batch_shape)
        return new
