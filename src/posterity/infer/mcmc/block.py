"""Blocks: what several transitions of all chains gave."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """What several transitions of each chain gave.

    Attributes:
        draws: What is kept of the states, by name, `[num_chains, num_transitions, ...]`: the point on the target's own
            space as `"position"`.
        info: What is known of each transition, by name, `[num_chains, num_transitions]` each.
    """

    draws: dict[str, Tensor]
    info: dict[str, Tensor]

    @property
    def num_transitions(self) -> int:
        """How many transitions it holds."""
        return self.draws["position"].shape[1]

    def part(self, rows: slice) -> "Block":
        """Some of the transitions."""
        return Block({n: v[:, rows] for n, v in self.draws.items()}, {n: v[:, rows] for n, v in self.info.items()})


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks one after the other, as one."""
    if len(blocks) == 1:
        return blocks[0]
    draws = {name: torch.cat([block.draws[name] for block in blocks], 1) for name in blocks[0].draws}
    return Block(draws, {name: torch.cat([block.info[name] for block in blocks], 1) for name in blocks[0].info})


# Is called with how many transitions each chain made since the last call, in the mean, and what is known of them:
# `step_size`, `accept_prob` and `is_divergent`, where there are such things.
Report = Callable[[float, dict[str, Tensor]], None]
