"""Where the random numbers of inference come from, as the handlers around say."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from posterity.handlers import seed
from posterity.kernels import Key, Source, uniform
from posterity.ppl.stack import handlers

# What keys of our own are made with: no site folds numbers in.
_BESIDE = 2**30


def source_here(*, advance: bool = False) -> Source:
    """Random numbers from the innermost `seed` handler around; None where there is none.

    Args:
        advance: Whether to take the place of a site there. Otherwise the sites' numbers are what they would be without
            this call, and two calls give the same.
    """
    for handler in reversed(handlers()):
        if isinstance(handler, seed):
            source = handler.next_source() if advance else handler.source
            return source.fold_in(_BESIDE) if isinstance(source, Key) else source
    return None


@contextmanager
def seeded_generator(source: Source) -> Iterator[None]:
    """Torch's global generator, on the processor, in a state that a source decides; put back afterwards.

    Args:
        source: None leaves the generator alone.
    """
    if source is None:
        yield
        return
    state = torch.get_rng_state()
    number = uniform((), source=source, dtype=torch.float64, device="cpu")
    torch.default_generator.manual_seed(int(number * 2**52))
    try:
        yield
    finally:
        torch.set_rng_state(state)
