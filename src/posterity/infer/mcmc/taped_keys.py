"""Keys whose numbers are made outside of a graph: ahead, for many transitions at once, the same as inside.

A counter-based generator in a graph costs the compiler more than the rest of the graph.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.kernels import Key, normal, uniform
from posterity.kernels.random import KeyStream


class Request(NamedTuple):
    """Numbers that a kernel asks for.

    Attributes:
        path: How the key was derived from that of the transition: `("at", stream)` and `("fold_in", number)`.
        kind: `"normal"` or `"uniform"`.
        shape: Of the numbers of each chain.
        dtype: Of the numbers.
    """

    path: tuple[tuple[str, int], ...]
    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def answer(self, keys: Key) -> Tensor:
        """The numbers `[*batch, *shape]`, for keys `[*batch, 2]` of transitions."""
        for step, number in self.path:
            keys = keys.at(number) if step == "at" else keys.fold_in(number)
        draw = normal if self.kind == "normal" else uniform
        return draw(self.shape, source=keys, dtype=self.dtype)


class CannotTapeError(Exception):
    """A kernel uses its keys in a way that only keys allow."""


class TapedKeys(KeyStream):
    """Stands in for the keys of a transition.

    Args:
        take: Gives the numbers for a request.
        path: How these keys were derived.
    """

    def __init__(self, take: Callable[[Request], Tensor], path: tuple[tuple[str, int], ...] = ()) -> None:
        super().__init__()
        self._take, self._path = take, path

    def at(self, stream: int) -> "TapedKeys":
        """The same keys reading another stream."""
        return TapedKeys(self._take, (*self._path, ("at", stream)))

    def fold_in(self, number: int | Tensor) -> "TapedKeys":
        """Keys derived from these."""
        if isinstance(number, Tensor):
            raise CannotTapeError("keys are derived by a tensor")
        return TapedKeys(self._take, (*self._path, ("fold_in", number)))

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Standard normal numbers `[num_chains, *shape]`."""
        return self._take(Request(self._path, "normal", tuple(shape), dtype))

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uniform numbers on (0, 1), `[num_chains, *shape]`."""
        return self._take(Request(self._path, "uniform", tuple(shape), dtype))

    def key(self, device: torch.device) -> Key:
        """There is none."""
        raise CannotTapeError("numbers of another kind are drawn")

    @property
    def data(self) -> Any:
        """There is none."""
        raise CannotTapeError("the keys' words are read")


def requests_of(step: Callable[[TapedKeys], Any], keys: Key) -> list[Request]:
    """What a step asks for, from a run of it.

    Raises:
        CannotTapeError: Its numbers cannot be made ahead.
    """
    found: dict[Request, Tensor] = {}

    def take(request: Request) -> Tensor:
        if request not in found:
            found[request] = request.answer(keys)
        return found[request]

    step(TapedKeys(take))
    return list(found)
