"""Random numbers from any source: torch's generators, or a counter-based `Key`.

A `Key` is a value, not a state: the same key gives the same numbers on every device, in a compiled graph and
under `vmap`. Torch's own generator is the faster source in eager code, the key inside compiled graphs, where
the compiler fuses it with whatever uses the numbers.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.threefry import FAST_ROUNDS, threefry2x32


class Key:
    """A counter-based random key.

    Args:
        seed: a Python integer (its low 64 bits count), or an int32 tensor of shape `[2]` on any device, such as
            one drawn inside a compiled graph; or `[..., 2]` for a batch of keys, each of which then gives a whole
            result, stacked on the left.
        stream: which of the key's 2^31 independent streams of numbers to read.
        device: where the key lives when made from an integer. Default: torch's default device.

    Raises:
        TypeError: if `seed` is neither an integer nor an int32 tensor of shape `[..., 2]`.

    Example:
        >>> key = Key(0)
        >>> torch.equal(normal((3,), source=key), normal((3,), source=Key(0)))
        True
        >>> torch.equal(normal((3,), source=key), normal((3,), source=key.fold_in(1)))
        False
    """

    def __init__(self, seed: int | Tensor, *, stream: int = 0, device: torch.device | str | None = None) -> None:
        if isinstance(seed, Tensor):
            if seed.dtype != torch.int32 or seed.shape[-1:] != (2,):
                raise TypeError(
                    f"Key: a tensor seed must be int32 of shape [..., 2], got {seed.dtype} of shape {list(seed.shape)}"
                )
            self.data = seed
        elif isinstance(seed, int):
            words = [_signed(seed >> 32), _signed(seed)]
            self.data = torch.tensor(words, dtype=torch.int32, device=device)
        else:
            raise TypeError(f"Key: seed must be an integer or an int32 tensor of shape [2], got {seed!r}")
        self.stream = stream

    @classmethod
    def draw(cls, device: torch.device) -> "Key":
        """A key drawn from torch's global generator; traceable, so that a compiled graph makes a new one a call."""
        words = torch.randint(-(2**31), 2**31 - 1, (2,), dtype=torch.int32, device=device)
        # A view by strides has to be stored: Inductor would draw the words anew in every loop that reads them.
        return cls(words.as_strided((2,), (1,)))

    def at(self, stream: int) -> "Key":
        """The same key reading another of its streams."""
        return Key(self.data, stream=stream)

    def fold_in(self, number: int | Tensor) -> "Key":
        """A new key that depends on this one, its stream, and on `number` (a chain, a step, a device)."""
        counter = torch.as_tensor(number, device=self.data.device).to(torch.int32)
        # The second counter word separates a key's uses: not negative for numbers, negative for derived keys.
        tag = torch.full_like(counter, ~self.stream)
        words = threefry2x32((self.data[..., 0], self.data[..., 1]), (counter, tag))
        return Key(torch.stack(words, dim=-1))

    def split(self, number: int = 2) -> list["Key"]:
        """`number` new keys, independent of each other."""
        return [self.fold_in(i) for i in range(number)]

    def __repr__(self) -> str:
        return f"Key(data={self.data.tolist()}, stream={self.stream})"


class KeyStream:
    """Successive, independent streams of one key that is drawn when it is first needed.

    What compiled graphs draw from. Normal numbers can be reserved: they are then made together, in one pass, because
    every separate block of random numbers costs the compiler seconds.

    Example:
        >>> stream = KeyStream()
        >>> stream.reserve(6, torch.float32, torch.device("cpu"))
        >>> normal((3,), source=stream).shape, normal((3,), source=stream).shape
        (torch.Size([3]), torch.Size([3]))
    """

    def __init__(self) -> None:
        self._keys: dict[torch.device, Key] = {}
        self._streams = 0
        self._reserved: dict[tuple[torch.dtype, torch.device], int] = {}
        self._pools: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._taken: dict[tuple[torch.dtype, torch.device], int] = {}

    def reserve(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        """Announce that `size` normal numbers will be asked for."""
        self._reserved[dtype, device] = self._reserved.get((dtype, device), 0) + size

    def key(self, device: torch.device) -> Key:
        """The next stream."""
        if device not in self._keys:
            self._keys[device] = Key.draw(device)
        self._streams += 1
        return self._keys[device].at(self._streams - 1)

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Standard normal numbers: the next of those reserved, or of a stream of their own."""
        size, where = math.prod(shape), (dtype, device)
        start = self._taken.get(where, 0)
        if start + size > self._reserved.get(where, 0):
            return normal(shape, source=self.key(device), dtype=dtype)
        if where not in self._pools:
            self._pools[where] = normal((self._reserved[where],), source=self.key(device), dtype=dtype)
        self._taken[where] = start + size
        return self._pools[where][start : start + size].view(tuple(shape))

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uniform numbers on the open interval (0, 1), of a stream of their own."""
        return uniform(shape, source=self.key(device), dtype=dtype)

    def shared_uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uniform numbers that are the same in all runs whose noise is made together."""
        return self.uniform(shape, dtype, device)


# What a `generator=` argument takes, and what the library itself may also draw from.
Generator = torch.Generator | Key | None
Source = Generator | KeyStream


def split_source(source: Generator, number: int = 2) -> list[Generator]:
    """Sources for several independent draws: a key's children, as a key gives the same numbers again; or itself.

    Example:
        >>> first, second = split_source(Key(0))
        >>> torch.equal(normal((3,), source=first), normal((3,), source=second))
        False
    """
    return [*source.split(number)] if isinstance(source, Key) else [source] * number


def bits(size: int, key: Key, block: int = 0) -> tuple[Tensor, Tensor]:
    """Two int32 tensors of `size` uniformly random words for each key, from blocks `[block, block + size)`."""
    counter = torch.arange(block, block + size, dtype=torch.int32, device=key.data.device)
    stream = torch.full_like(counter, key.stream)
    return threefry2x32((key.data[..., :1], key.data[..., 1:]), (counter, stream), FAST_ROUNDS)


def normal(
    shape: Sequence[int],
    *,
    source: Source = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal numbers.

    Args:
        shape: shape of the result.
        source: a `torch.Generator`, a `Key`, or `None` for torch's global generator.
        dtype: floating dtype of the result. Default: torch's default dtype.
        device: where to draw. Default: the key's device, or torch's default device.

    Returns:
        Tensor of the given shape. From a key, float32 numbers reach 6.6 standard deviations, float64 ones 9.3.

    Example:
        >>> normal((2, 3), source=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    if isinstance(source, KeyStream):
        where = torch.device(device) if device is not None else torch.get_default_device()
        return source.normal(shape, dtype or torch.get_default_dtype(), where)
    source = _resolved(source, device)
    if not isinstance(source, Key):
        return torch.randn(tuple(shape), generator=source, dtype=dtype, device=device)
    dtype = dtype or torch.get_default_dtype()
    size = math.prod(shape)
    half = (size + 1) // 2
    if dtype == torch.float64:
        radius = _unit_from_two_words(*bits(half, source))
        word, fine = bits(half, source, block=half)
        angle = (word.double() * 2.0**-31 + (fine & 0x7FFFFFFF).double() * 2.0**-62) * math.pi
        cosine, sine = torch.cos(angle), torch.sin(angle)
    else:
        word, turn = bits(half, source)
        radius = ((word & 0x7FFFFFFF).float() + 0.5) * 2.0**-31
        cosine, sine = _half_turns(turn.float() * 2.0**-31)
    # Box and Muller (1958); `cat` rather than `stack`, because Inductor vectorises the two halves.
    length = torch.sqrt(-2 * torch.log(radius))
    both = torch.cat([length * cosine, length * sine], dim=-1)
    return both[..., :size].reshape((*both.shape[:-1], *shape)).to(dtype)


def uniform(
    shape: Sequence[int],
    *,
    source: Source = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Uniform numbers on [0, 1); from a `Key` on the open interval (0, 1).

    Arguments are those of `normal`.

    Example:
        >>> uniform((4,), source=Key(0)).lt(1).all()
        tensor(True)
    """
    if isinstance(source, KeyStream):
        where = torch.device(device) if device is not None else torch.get_default_device()
        return source.uniform(shape, dtype or torch.get_default_dtype(), where)
    source = _resolved(source, device)
    if not isinstance(source, Key):
        return torch.rand(tuple(shape), generator=source, dtype=dtype, device=device)
    dtype = dtype or torch.get_default_dtype()
    size = math.prod(shape)
    # As many bits as the significand stores, and a half step: every value is exact, and neither end is reached.
    if dtype == torch.float64:
        high, low = bits(size, source)
        both = ((high & 0x3FFFFFF).double() * 2.0**26 + (low & 0x3FFFFFF).double() + 0.5) * 2.0**-52
    else:
        digits = {torch.float16: 10, torch.bfloat16: 7}.get(dtype, 23)
        words = torch.cat(bits((size + 1) // 2, source), dim=-1)
        both = (((words >> (32 - digits)) & (2**digits - 1)).float() + 0.5) * 2.0**-digits
    return both[..., :size].reshape((*both.shape[:-1], *shape)).to(dtype)


def rademacher(
    shape: Sequence[int],
    *,
    source: Source = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Random signs: -1 or +1, each with probability one half.

    Arguments are those of `normal`.

    Example:
        >>> rademacher((1000,), source=Key(0)).abs().sum()
        tensor(1000.)
    """
    dtype = dtype or torch.get_default_dtype()
    source = _resolved(source, device)
    if not isinstance(source, Key):
        ones = torch.randint(0, 2, tuple(shape), generator=source, device=device, dtype=torch.int8)
        return ones.to(dtype).mul_(2).sub_(1)
    size = math.prod(shape)
    words = torch.cat(bits((size + 1) // 2, source), dim=-1)[..., :size]
    return (1 - 2 * (words & 1)).to(dtype).reshape((*words.shape[:-1], *shape))


def _resolved(source: Source, device: torch.device | str | None) -> Generator:
    """The source with a stream's next key taken, and a key moved to where it is to draw."""
    if isinstance(source, KeyStream):
        return source.key(torch.device(device) if device is not None else torch.get_default_device())
    if isinstance(source, Key) and device is not None:
        return Key(source.data.to(device), stream=source.stream)
    return source


def _unit_from_two_words(high: Tensor, low: Tensor) -> Tensor:
    """A float64 in (0, 1] from 62 random bits, as near to zero as 2^-63."""
    whole = (high & 0x7FFFFFFF).double() * 2.0**31 + (low & 0x7FFFFFFF).double()
    return (whole + 0.5) * 2.0**-62


def _half_turns(x: Tensor) -> tuple[Tensor, Tensor]:
    """cos(pi x) and sin(pi x) for float32 x in [-1, 1], within 7e-7.

    The polynomials interpolate cos(pi x / 2) and sin(pi x / 2) / x in x^2 at Chebyshev's nodes, within 7e-9. They take
    a fraction of the time of torch's functions, which reduce arguments of any size.
    """
    square = x * x
    cosine, sine = _polynomial(_COS, square), x * _polynomial(_SIN, square)
    return 1 - 2 * sine * sine, 2 * sine * cosine


_COS = (
    0.999999999779154,
    -1.2337005342322365,
    0.2536693221726959,
    -0.02086268670922735,
    0.0009177229241995567,
    -2.3824152439014107e-05,
)
_SIN = (1.5707963200386017, -0.6459637595835394, 0.0796899183290285, -0.0046741438381517775, 0.0001516717036640896)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    result = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        result = result * x + coefficient
    return result


def _signed(word: int) -> int:
    word &= 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word
