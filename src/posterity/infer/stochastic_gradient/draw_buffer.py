"""Draws on their way into a store of blocks: those of the last steps wait until these are known to be finite."""

from collections.abc import Mapping

import torch
from torch import Tensor

from posterity.infer.mcmc.block import Block, joined
from posterity.infer.mcmc.draw_store import DiskStore, DrawStore


class DrawBuffer:
    """Draws in blocks, the last of which may still be taken back.

    Args:
        store: Where blocks are kept.
        like: Positions, `[num_chains, dim]`.

    Example:
        >>> draws = DrawBuffer(DrawStore(), torch.zeros(2, 3))
        >>> draws.add(torch.ones(5, 2, 3), {"step_size": torch.ones(5)})
        >>> len(draws), draws.whole().draws["position"].shape, draws.whole().info["step_size"].shape
        (5, torch.Size([2, 5, 3]), torch.Size([2, 5]))
    """

    def __init__(self, store: DrawStore | DiskStore, like: Tensor) -> None:
        self.store, self._like = store, like
        self._waiting: list[tuple[Tensor, Mapping[str, Tensor]]] = []

    def __len__(self) -> int:
        return self.store.num_transitions + self.num_waiting

    @property
    def num_waiting(self) -> int:
        """How many draws of each chain may still be taken back."""
        return sum(len(positions) for positions, _ in self._waiting)

    def add(self, positions: Tensor, fields: Mapping[str, Tensor]) -> None:
        """Take draws.

        Args:
            positions: `[num_draws, num_chains, dim]`.
            fields: What is known of their steps, `[num_draws, num_chains]`, or `[num_draws]` where that is the same for
                all chains.
        """
        self._waiting.append((positions, fields))

    def flush(self) -> None:
        """Hand all draws on to the store."""
        if self.num_waiting:
            self.store.append(self._joined())
        self._waiting.clear()

    def shorten(self, count: int) -> None:
        """Keep the first draws alone; those in the store stay."""
        left = max(count - self.store.num_transitions, 0)
        if left < self.num_waiting:
            block = self._joined().part(slice(left))
            rows = {name: row.T for name, row in block.info.items()}
            self._waiting = [(block.draws["position"].transpose(0, 1), rows)] if left else []

    def whole(self) -> Block:
        """All draws, `[num_chains, num_draws, ...]`."""
        blocks = [self.store.whole()] if self.store.num_transitions else []
        blocks += [self._joined()] if self.num_waiting else []
        if not blocks:
            return Block({"position": self._like.new_empty(len(self._like), 0, self._like.shape[1])}, {})
        return joined(blocks)

    def _joined(self) -> Block:
        positions = torch.cat([rows for rows, _ in self._waiting])
        shape = positions.shape[:2]
        fields = {name: torch.cat([own[name] for _, own in self._waiting]) for name in self._waiting[0][1]}
        info = {name: rows.reshape(len(rows), -1).expand(shape).T.contiguous() for name, rows in fields.items()}
        return Block({"position": positions.transpose(0, 1).contiguous()}, info)
