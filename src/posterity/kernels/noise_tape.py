"""Random numbers made ahead of the code that uses them.

A program is run once on a `NoiseRecorder`, which notes what it asks for. Its `NoiseLayout` then makes the numbers of
many runs by torch's own generator, and a `NoiseTape` hands them out. A graph that is captured from a run on a tape
takes its noise as an input: it holds no generator, and eager and compiled code read the same numbers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from posterity.kernels.random import Key, KeyStream

Kind = tuple[str, torch.dtype, torch.device]
Pools = Mapping[str, Tensor]


class NoiseLayout(NamedTuple):
    """How many numbers of each kind one run takes.

    Attributes:
        sizes: By kind: `normal`, `uniform` and `shared_uniform` numbers of a dtype on a device, and `key`s.
    """

    sizes: tuple[tuple[Kind, int], ...]

    def draw(self, generators: Mapping[torch.device, torch.Generator], runs: Sequence[int] = ()) -> dict[str, Tensor]:
        """The numbers of independent runs: tensors `[*runs, size]` by kind, keys `[*runs, size, 2]`.

        Args:
            generators: A generator for each device.
            runs: The shape of independent runs.
        """
        pools = self.empty(runs)
        self.fill([list(pools.values())], generators)
        return pools

    def empty(self, runs: Sequence[int] = ()) -> dict[str, Tensor]:
        """Room for the numbers of independent runs."""
        return {
            _name(kind, dtype, device): torch.empty(
                (*runs, size, 2) if kind == "key" else (*runs, size), dtype=dtype, device=device
            )
            for (kind, dtype, device), size in self.sizes
        }

    def fill(self, runs: Sequence[Sequence[Tensor]], generators: Mapping[torch.device, torch.Generator]) -> None:
        """Write, run after run, into tensors like those of `empty` the numbers that `draw` would give."""
        kinds = [(kind, dtype, device, size, generators[device]) for (kind, dtype, device), size in self.sizes]
        for pools in runs:
            for (kind, dtype, device, size, generator), pool in zip(kinds, pools, strict=True):
                if kind == "normal":
                    pool.normal_(generator=generator)
                elif kind == "uniform":
                    pool.uniform_(generator=generator).clamp_(min=_least(dtype))
                elif kind == "shared_uniform":
                    pool.copy_(open_uniform((size,), generator, dtype, device))
                else:
                    pool.random_(-(2**31), 2**31 - 1, generator=generator)

    def size(self) -> int:
        """How many numbers one run takes."""
        return sum(size for _, size in self.sizes)

    def devices(self) -> set[torch.device]:
        """The devices on which numbers are made."""
        return {device for (_, _, device), _ in self.sizes}


class NoiseRecorder(KeyStream):
    """Draws from torch's generators, and notes what is asked for.

    Args:
        generators: A generator for each device; devices that have none yet get one, seeded by the first that is there.

    Example:
        >>> from posterity.kernels import normal
        >>> recorder = NoiseRecorder({torch.device("cpu"): torch.Generator().manual_seed(0)})
        >>> normal((2, 3), source=recorder).shape
        torch.Size([2, 3])
        >>> tape = NoiseTape(recorder.layout().draw(recorder.generators))
        >>> normal((2, 3), source=tape).shape
        torch.Size([2, 3])
    """

    def __init__(self, generators: dict[torch.device, torch.Generator]) -> None:
        super().__init__()
        self.generators = generators
        self._sizes: dict[Kind, int] = {}

    def layout(self) -> NoiseLayout:
        """What has been asked for so far."""
        return NoiseLayout(tuple(self._sizes.items()))

    def reserve(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        """Nothing needs to be reserved."""

    def key(self, device: torch.device) -> Key:
        """A new key."""
        self._count("key", 1, torch.int32, device)
        words = torch.randint(
            -(2**31), 2**31 - 1, (2,), generator=self._generator(device), dtype=torch.int32, device=device
        )
        return Key(words)

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Standard normal numbers."""
        self._count("normal", math.prod(shape), dtype, device)
        return torch.randn(tuple(shape), generator=self._generator(device), dtype=dtype, device=device)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uniform numbers between 0 and 1, which they never are."""
        self._count("uniform", math.prod(shape), dtype, device)
        return open_uniform(tuple(shape), self._generator(device), dtype, device)

    def shared_uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uniform numbers of which every run has the same."""
        self._count("shared_uniform", math.prod(shape), dtype, device)
        return open_uniform(tuple(shape), self._generator(device), dtype, device)

    def _count(self, kind: str, size: int, dtype: torch.dtype, device: torch.device) -> None:
        where = (kind, dtype, device)
        self._sizes[where] = self._sizes.get(where, 0) + size

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self.generators:
            seed = next(iter(self.generators.values())).initial_seed()
            self.generators[device] = torch.Generator(device).manual_seed(seed)
        return self.generators[device]


class NoiseTape(KeyStream):
    """Hands out numbers made ahead, in the order in which they are asked for.

    Args:
        pools: What `NoiseLayout.draw` gave for one run.

    Raises:
        LookupError: When more is asked for than was recorded.
    """

    def __init__(self, pools: Pools) -> None:
        super().__init__()
        self._pools_by_name = pools
        self._used: dict[str, int] = {}

    def reserve(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        """Nothing needs to be reserved."""

    def key(self, device: torch.device) -> Key:
        """The next key."""
        return Key(self._next("key", (), torch.int32, device))

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The next standard normal numbers."""
        return self._next("normal", shape, dtype, device)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The next uniform numbers."""
        return self._next("uniform", shape, dtype, device)

    def shared_uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The next uniform numbers of those that every run has."""
        return self._next("shared_uniform", shape, dtype, device)

    def _next(self, kind: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        name, size = _name(kind, dtype, device), math.prod(shape)
        pool, start = self._pools_by_name.get(name), self._used.get(name, 0)
        if pool is None or start + size > len(pool):
            raise LookupError(
                f"the program asks for more {kind} numbers than in its first run: what it draws must not depend on "
                "what it drew before, where it is captured"
            )
        self._used[name] = start + size
        if kind == "key":
            return pool[start]
        # A copy: samplers work in place on what they drew.
        return pool[start : start + size].reshape(tuple(shape)).clone()


def open_uniform(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Torch's uniform numbers on [0, 1), with half a step in the place of 0."""
    return torch.rand(tuple(shape), generator=generator, dtype=dtype, device=device).clamp_(min=_least(dtype))


def _least(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 4


def _name(kind: str, dtype: torch.dtype, device: torch.device) -> str:
    return f"{kind} {dtype} {device}"
