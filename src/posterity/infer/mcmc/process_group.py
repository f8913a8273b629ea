"""Chains over several processes: which are a process's own, and how their draws come together."""

from typing import Any

import torch
import torch.distributed as group

from posterity.infer.mcmc.block import Block


class ProcessGroup:
    """The default group of `torch.distributed`, where there is one; else this process alone.

    Attributes:
        rank: This process's number.
        size: How many there are.
    """

    def __init__(self) -> None:
        together = group.is_available() and group.is_initialized()
        self.rank = group.get_rank() if together else 0
        self.size = group.get_world_size() if together else 1

    def own_chains(self, num_chains: int) -> range:
        """The numbers of this process's chains.

        Raises:
            ValueError: There are fewer chains than processes.
        """
        if num_chains < self.size:
            raise ValueError(
                f"MCMC: {num_chains} chains are too few for {self.size} processes: num_chains must be at least their "
                "number"
            )
        first, last = (num_chains * rank // self.size for rank in (self.rank, self.rank + 1))
        return range(first, last)

    def agreed(self, value: Any) -> Any:
        """The first process's value."""
        if self.size == 1:
            return value
        values = [value]
        group.broadcast_object_list(values, src=0)
        return values[0]

    def gathered(self, block: Block) -> Block:
        """On the first process the draws of all chains, on the others their own."""
        if self.size == 1:
            return block
        blocks: list[Any] | None = [None] * self.size if self.rank == 0 else None
        group.gather_object(block, blocks, dst=0)
        if blocks is None:
            return block
        draws = {name: torch.cat([b.draws[name] for b in blocks]) for name in block.draws}
        return Block(draws, {name: torch.cat([b.info[name] for b in blocks]) for name in block.info})
