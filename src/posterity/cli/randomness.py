"""Randomness and threads of a run's own, and the caller's back afterwards."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_randomness_and_threads(seed: int, threads: int | None = 1) -> Iterator[None]:
    """Draw from `seed`, on so many threads: on one, sums stay the same on every machine.

    Args:
        seed: What torch's global generator is seeded with inside.
        threads: How many threads torch uses inside; None leaves it at the caller's number.

    Example:
        >>> with own_randomness_and_threads(3):
        ...     first = torch.rand(2)
        >>> with own_randomness_and_threads(3):
        ...     bool((torch.rand(2) == first).all()), torch.get_num_threads()
        (True, 1)
    """
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reseed accelerators too
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
