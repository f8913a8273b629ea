"""What samplers make their candidates of: uniform and normal numbers, resolved finely near zero, from any source.

A key gives every element and every candidate counters of their own, so that a loop that redraws only what was
rejected and a graph that draws all candidates at once see the same numbers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from posterity.kernels.random import Key, KeyStream, Source
from posterity.kernels.threefry import FAST_ROUNDS, threefry2x32

# A key's streams are numbered `call * MAX_CANDIDATES + candidate`.
MAX_CANDIDATES = 64

# Folded into the caller's key, so that no stream of a sampler is one that the caller reads.
_SALT = 0x5A3B1E00

Settled = Key | torch.Generator | None


class Noise:
    """Random numbers of one shape; each call gives new ones.

    Args:
        source: A key of the sampler's own (`part` makes one), a `torch.Generator`, or None for torch's global one.
        place: int32 tensor that numbers the elements; its shape is the shape of the numbers.
        dtype: float32 or float64.
        candidate: Which candidates of an element are drawn: a number, or a tensor that broadcasts against `place`.
        first_call: Number of the first call: noise that starts at another one is independent of it.

    Example:
        >>> noise = Noise(Key(0), torch.arange(3, dtype=torch.int32), torch.float32)
        >>> noise.uniform().shape
        torch.Size([3])
    """

    def __init__(
        self, source: Settled, place: Tensor, dtype: torch.dtype, candidate: Tensor | int = 0, first_call: int = 0
    ) -> None:
        self.source = source
        self.place = place
        self.dtype = dtype
        self.candidate = candidate
        self._calls = first_call

    def uniform(self) -> Tensor:
        """Numbers on (0, 1), resolved down to 2^-62 (2^-48 from torch's generator) near zero."""
        if not isinstance(self.source, Key):
            step = torch.finfo(self.dtype).eps / 2
            return self._open(self._rand() + step * self._rand())
        coarse, fine = self._words()
        return self._open((coarse & 0x7FFFFFFF).to(self.dtype) * 2.0**-31 + self._fraction(fine))

    def signed(self) -> Tensor:
        """Numbers on (-1, 1), as finely resolved near zero, which is never reached."""
        if not isinstance(self.source, Key):
            step = torch.finfo(self.dtype).eps
            both = (2 * self._rand() - 1) + step * self._rand()
            return torch.where(both == 0, step * step, both).clamp(max=1 - step / 2)
        coarse, fine = self._words()
        low = -1 + torch.finfo(self.dtype).eps / 2
        return (coarse.to(self.dtype) * 2.0**-31 + self._fraction(fine)).clamp(low, -low)

    def exponential(self) -> Tensor:
        """Standard exponential numbers, each half of them with an end of the line finely resolved."""
        u = self.signed()
        half = 0.5 * u.abs()
        return -torch.where(u > 0, torch.log(half), torch.log1p(-half))

    def normal(self) -> Tensor:
        """Standard normal numbers, by Box and Muller (1958)."""
        if not isinstance(self.source, Key):
            return torch.randn(self.place.shape, generator=self.source, dtype=self.dtype, device=self.place.device)
        if self.dtype == torch.float64:
            length, turn = self.uniform(), self.signed()
        else:
            coarse, fine = self._words()
            length = ((coarse & 0x7FFFFFFF).to(self.dtype) + 0.5) * 2.0**-31
            turn = fine.to(self.dtype) * 2.0**-31
        return torch.sqrt(-2 * torch.log(length)) * torch.cos(turn * torch.pi)

    def _rand(self) -> Tensor:
        assert not isinstance(self.source, Key)
        return torch.rand(self.place.shape, generator=self.source, dtype=self.dtype, device=self.place.device)

    def _words(self) -> tuple[Tensor, Tensor]:
        assert isinstance(self.source, Key)
        data = self.source.data
        stream = self._calls * MAX_CANDIDATES + self.candidate
        self._calls += 1
        if isinstance(stream, int):
            stream = torch.full_like(self.place, stream)
        ones = (1,) * max(self.place.dim(), stream.dim())
        key = (data[..., 0].reshape(data.shape[:-1] + ones), data[..., 1].reshape(data.shape[:-1] + ones))
        return threefry2x32(key, (self.place, stream), FAST_ROUNDS)

    def _fraction(self, word: Tensor) -> Tensor:
        return ((word & 0x7FFFFFFF).to(self.dtype) + 0.5) * 2.0**-62

    def _open(self, value: Tensor) -> Tensor:
        return value.clamp(2.0**-63, 1 - torch.finfo(self.dtype).eps / 2)


def noise(source: Settled, shape: Sequence[int], like: Tensor, first_call: int = 0) -> Noise:
    """Noise of a shape, with the dtype and device of `like`."""
    return Noise(source, places(shape, like.device), like.dtype, first_call=first_call)


def places(shape: Sequence[int], device: torch.device) -> Tensor:
    """The elements of a shape, numbered."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.int32, device=device).view(tuple(shape))


def is_eager(*tensors: Tensor) -> bool:
    """Whether values can be read: not in a graph, not under a transform of `torch.func`, not on `meta`."""
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    return all(type(tensor) in (Tensor, Parameter) and tensor.device.type != "meta" for tensor in tensors)


def settle(source: Source, *tensors: Tensor) -> Settled:
    """The source that a sampler is to use: its own key, or torch's generator in eager code.

    Args:
        source: What the caller gave.
        tensors: The sampler's parameters; the first decides on the device.

    Returns:
        From a key, one derived from it. From a generator or None, the same in eager code; elsewhere a key drawn from
        it, so that the numbers are made inside the graph, and are new for each element of a `torch.vmap`.
    """
    device = tensors[0].device
    if isinstance(source, KeyStream):
        source = source.key(device)
    if isinstance(source, Key):
        return part(Key(source.data.to(device), stream=source.stream), 0)
    if is_eager(*tensors):
        return source
    words = torch.randint(-(2**31), 2**31 - 1, (2,), dtype=torch.int32, device=device, generator=source)
    return Key(words)


def part(source: Settled, number: int) -> Settled:
    """An independent source for each number: generators as they are, a key derived from a key."""
    return source.fold_in(_SALT + number) if isinstance(source, Key) else source
