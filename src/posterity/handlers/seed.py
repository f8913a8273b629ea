"""Give a program's random choices a stream of their own."""

from collections.abc import Callable
from typing import Any, Self

import torch

from posterity.kernels import Key, KeyStream, Source
from posterity.ppl import Handler, Site


class seed(Handler):  # noqa: N801  # handlers are written as functions are
    """Draw the sites from a seed: the same draws at every run, whatever torch's global generator does.

    Args:
        fn: The program; without it, for a `with` block.
        rng_seed: A whole number or a `posterity.kernels.Key`, from which every site takes a stream of its own, in
            their order; or a `torch.Generator`, from which they draw one after the other.

    Raises:
        TypeError: The seed is nothing of the kind.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> seeded = pt.handlers.seed(model, rng_seed=0)
        >>> bool(seeded() == seeded())
        True
    """

    def __init__(self, fn: Callable[..., Any] | None = None, rng_seed: int | Source = None) -> None:
        super().__init__(fn)
        if isinstance(rng_seed, bool) or not isinstance(rng_seed, int | Key | KeyStream | torch.Generator):
            raise TypeError(
                "seed: rng_seed must be a whole number, a posterity.kernels.Key or a torch.Generator, "
                f"not {type(rng_seed).__name__}"
            )
        self.source = Key(rng_seed) if isinstance(rng_seed, int) else rng_seed
        self._streams = 0

    def __enter__(self) -> Self:
        self._streams = 0
        return super().__enter__()

    def process_message(self, site: Site) -> None:
        """Give a site that has yet to be drawn its stream."""
        if site.kind not in ("sample", "plate") or site.value is not None or site.source is not None:
            return
        site.source = self.next_source()

    def next_source(self) -> Source:
        """What the next site draws from: of a key, a stream that no other site takes."""
        if not isinstance(self.source, Key):
            return self.source
        self._streams += 1
        return self.source.at(self._streams - 1)
