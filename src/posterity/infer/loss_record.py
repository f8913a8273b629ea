"""The losses of a driver's steps, one by one or many at a time, and whether they still fall."""

import torch
from torch import Tensor


class LossRecord:
    """The losses so far.

    Args:
        losses: Those of earlier steps, `[num_steps]`; None: there were none.

    Example:
        >>> record = LossRecord()
        >>> record.append(torch.tensor([3.0, 2.0]))
        >>> record.append(torch.tensor([1.0]))
        >>> len(record), record.since(1)
        (3, tensor([2., 1.]))
    """

    def __init__(self, losses: Tensor | None = None) -> None:
        # Of a step, or of several, each.
        self._blocks: list[Tensor] = []
        self._length = 0
        if losses is not None:
            self.append(losses)

    def __len__(self) -> int:
        return self._length

    def append(self, losses: Tensor) -> None:
        """Take in those of the next steps, `[num_steps]`."""
        self._blocks.append(losses)
        self._length += len(losses)

    def since(self, start: int) -> Tensor:
        """Those from a step on, `[num_steps - start]`."""
        parts, missing = [], self._length - start
        for block in reversed(self._blocks):
            if missing <= 0:
                break
            parts.append(block[max(0, len(block) - missing) :])
            missing -= len(block)
        return torch.cat(parts[::-1]) if parts else torch.zeros(0)

    def have_stopped_falling(self, patience: int, start: int) -> bool:
        """Whether the mean of the last `patience` losses is no longer below that of as many before them.

        Args:
            patience: How many steps the means are over.
            start: The step before which losses do not count.
        """
        if self._length - start < 2 * patience:
            return False
        recent = self.since(self._length - 2 * patience)
        before, after = recent[:patience], recent[patience:]
        # Half a standard error of the difference: what falls more slowly than that cannot be told from noise.
        noise = ((before.var() + after.var()) / patience).sqrt()
        return bool(before.mean() - after.mean() < 0.5 * noise)
