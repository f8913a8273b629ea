"""Threefry-2x32 against the known answers that its authors publish with Random123."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posterity.kernels import threefry2x32

ONES = -1  # 0xffffffff
KNOWN = [
    (13, (0, 0), (0, 0), "9d1c5ec6 8bd50731"),
    (13, (ONES, ONES), (ONES, ONES), "fd36d048 2d17272c"),
    (20, (0, 0), (0, 0), "6b200159 99ba4efe"),
    (20, (ONES, ONES), (ONES, ONES), "1cb996fc bb002be7"),
    (20, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), "c4923a9c 483df7a0"),
]


def word(value: int) -> torch.Tensor:
    return torch.tensor(value - 2**32 if value >= 2**31 else value, dtype=torch.int32)


def as_hex(words: tuple[torch.Tensor, torch.Tensor]) -> str:
    return " ".join(f"{int(w) & 0xFFFFFFFF:08x}" for w in words)


@pytest.mark.parametrize(("rounds", "key", "counter", "answer"), KNOWN)
def test_known_answers(rounds, key, counter, answer):
    words = threefry2x32((word(key[0]), word(key[1])), (word(counter[0]), word(counter[1])), rounds)
    assert as_hex(words) == answer


@given(seeds=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2), size=st.integers(0, 9))
def test_a_block_of_counters_is_the_counters_one_by_one(seeds, size):
    key = (word(seeds[0]), word(seeds[1]))
    counter = torch.arange(size, dtype=torch.int32)
    first, second = threefry2x32(key, (counter, counter + 5))
    alone = [threefry2x32(key, (c, c + 5)) for c in counter]
    assert first.tolist() == [int(a) for a, _ in alone]
    assert second.tolist() == [int(b) for _, b in alone]


def test_distinct_counters_have_distinct_blocks():
    counter = torch.arange(4096, dtype=torch.int32)
    a, b = threefry2x32((word(1), word(2)), (counter, torch.zeros_like(counter)))
    assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == 4096
