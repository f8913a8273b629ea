"""The draws of a run, in memory that is taken once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class DrawStore:
    """Positions and what is known of their steps, for a fixed number of draws.

    Args:
        like: Positions, `[num_chains, dim]`.
        num_samples: How many draws of each chain there will be.

    Attributes:
        is_full: Whether all draws are there.

    Example:
        >>> store = DrawStore(torch.zeros(2, 3), num_samples=5)
        >>> len(store), store.positions(group_by_chain=True).shape
        (0, torch.Size([2, 0, 3]))
    """

    def __init__(self, like: Tensor, num_samples: int) -> None:
        self._num_chains = len(like)
        self._positions = like.new_empty(num_samples, *like.shape)
        self._fields: dict[str, Tensor] = {}
        self._count = 0
        self._waiting: list[tuple[Tensor, Any]] = []

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether all draws are there."""
        return self._count == len(self._positions)

    def add(self, position: Tensor, info: Any) -> None:
        """Keep a draw of each chain."""
        self._waiting.append((position, info))
        self._count += 1
        if len(self._waiting) == _WAITING:
            self._write()

    def shorten(self, count: int) -> None:
        """Keep the first draws alone."""
        self._write()
        self._count = min(self._count, count)

    def positions(self, group_by_chain: bool) -> Tensor:
        """The draws, `[num_chains, num_draws, dim]` or `[num_chains * num_draws, dim]`."""
        return self._shaped(self._positions, group_by_chain)

    def fields(self, group_by_chain: bool) -> dict[str, Tensor]:
        """What is known of their steps, by name `[num_chains, num_draws]` or `[num_chains * num_draws]`."""
        self._write()
        return {name: self._shaped(rows, group_by_chain) for name, rows in self._fields.items()}

    def load(self, positions: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Begin with draws that were made before, `[num_chains, num_draws, dim]` and `[num_chains, num_draws]`.

        Raises:
            ValueError: There are more of them than this store holds.
        """
        count = positions.shape[1]
        if count > len(self._positions):
            raise ValueError(
                f"there are {count} draws of each chain already, more than num_samples, {len(self._positions)}"
            )
        self._positions[:count] = positions.movedim(0, 1)
        for name, rows in fields.items():
            kept = self._fields[name] = rows.new_empty(
                len(self._positions), self._num_chains, device=self._positions.device
            )
            kept[:count] = rows.T
        self._count = count

    def _shaped(self, rows: Tensor, group_by_chain: bool) -> Tensor:
        self._write()
        drawn = torch.movedim(rows[: self._count], 1, 0)
        return drawn if group_by_chain else drawn.flatten(0, 1)

    def _write(self) -> None:
        if not self._waiting:
            return
        where = slice(self._count - len(self._waiting), self._count)
        torch.stack([position for position, _ in self._waiting], out=self._positions[where])
        for name in self._waiting[0][1]._fields:
            rows = torch.stack([getattr(info, name) for _, info in self._waiting])
            if name not in self._fields:
                self._fields[name] = rows.new_empty(len(self._positions), self._num_chains)
            self._fields[name][where] = rows.reshape(len(rows), -1)  # scalars are the same for all chains
        self._waiting.clear()


# How many draws wait to be written together: each write costs more than a small step.
_WAITING = 32
