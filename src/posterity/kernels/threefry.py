"""Threefry-2x32, a counter-based block function, in torch's integer operations.

Salmon, Moraes, Dror, Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3". The words are int32 tensors
that stand for uint32 (torch's uint32 lacks most operations); additions wrap, shifts are made logical by a mask.
"""

import torch
from torch import Tensor

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA

# The fewest rounds that the paper found to pass BigCrush (its table 2), and the paper's own safety margin.
FAST_ROUNDS = 13
SAFE_ROUNDS = 20


def threefry2x32(
    key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor], rounds: int = SAFE_ROUNDS
) -> tuple[Tensor, Tensor]:
    """Two pseudo-random words for every counter.

    Args:
        key: two int32 tensors, broadcastable with the counter.
        counter: two int32 tensors of any (broadcastable) shape.
        rounds: mixing rounds, 20 by default; 13 is the fewest that passed BigCrush.

    Returns:
        Two int32 tensors of the broadcast shape.

    Example:
        >>> zero = torch.zeros((), dtype=torch.int32)
        >>> a, b = threefry2x32((zero, zero), (zero, zero))
        >>> hex(a.item() & 0xFFFFFFFF), hex(b.item() & 0xFFFFFFFF)
        ('0x6b200159', '0x99ba4efe')
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for i in range(rounds):
        x = x + y
        y = _rotate_left(y, _ROTATIONS[i % 8]) ^ x
        if i % 4 == 3:
            group = i // 4 + 1
            x = x + schedule[group % 3]
            y = y + schedule[(group + 1) % 3] + group
    return x, y


def _rotate_left(word: Tensor, bits: int) -> Tensor:
    return torch.bitwise_or(word << bits, (word >> (32 - bits)) & ((1 << bits) - 1))
