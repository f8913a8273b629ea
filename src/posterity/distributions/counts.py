"""What distributions over 0, ..., total_count share: a list of values where all counts are alike."""

import torch
from torch import Tensor

from posterity.distributions.base import Distribution


class BoundedCount(Distribution):
    """List it before torch's class."""

    total_count: Tensor

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # it depends on the values
        """Whether the support can be listed: all of `total_count` is one number."""
        n = self.total_count
        return n.numel() > 0 and n.device.type != "meta" and bool((n == n.reshape(-1)[0]).all())

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, `[total_count + 1, *batch_shape]`, or `[total_count + 1, 1, ...]` without `expand`.

        Raises:
            NotImplementedError: The batch mixes different total counts, so that the lists differ in length.
        """
        n = self.total_count
        if not self.has_enumerate_support:
            raise NotImplementedError(
                f"{type(self).__name__}.enumerate_support needs one total_count for the whole batch, but got "
                f"{n.unique().tolist()[:8] if n.device.type != 'meta' else n.shape}."
            )
        values = torch.arange(round(n.detach().reshape(-1)[0].item()) + 1, dtype=n.dtype, device=n.device)
        values = values.reshape((-1,) + (1,) * len(self.batch_shape))
        return values.expand((-1, *self.batch_shape)) if expand else values


def outside_counts(value: Tensor, below: float, above: float) -> Tensor:
    """What a tail is at values beyond the support: `below` at negative ones, `above` at others, and NaN at NaN."""
    return torch.where(value < 0, below, torch.where(value >= 0, above, value))
