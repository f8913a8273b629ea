"""Files of the idx format, as MNIST comes in: a magic number, the dimensions, then the bytes."""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

# The magic number's third byte. Of all its types only this one occurs in MNIST.
_BYTES = 0x08
_TYPES = {0x09: "signed bytes", 0x0B: "16-bit integers", 0x0C: "32-bit integers", 0x0D: "floats", 0x0E: "doubles"}


def read_idx(path: Path, dims: int) -> Tensor:
    """Read an idx file of bytes, gzipped or not.

    Args:
        path: The file.
        dims: How many dimensions it ought to have: 3 for images, 1 for labels.

    Returns:
        A tensor of type uint8.

    Raises:
        OSError: If it can't be opened.
        ValueError: If it is no such file, has other dimensions, or is cut short or damaged.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "File formats".

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = Path(place) / "labels"
        ...     number = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path, 1)
        tensor([7, 2, 1], dtype=torch.uint8)
    """
    content = _unpacked(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in (_BYTES, *_TYPES):
        raise ValueError(f"{path} is no idx file: it doesn't begin with the format's magic number")
    if content[2] != _BYTES:
        raise ValueError(f"{path} holds {_TYPES[content[2]]}; MNIST's files hold bytes")
    if content[3] != dims:
        raise ValueError(f"{path} has {content[3]} dimensions; {dims} were expected")
    start = 4 + 4 * dims
    if len(content) < start:
        raise ValueError(f"{path} is cut short: it ends within its header")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    expected, got = math.prod(shape), len(content) - start
    if got != expected:
        what = "is cut short" if got < expected else "is longer than it says"
        raise ValueError(f"{path} {what}: {' x '.join(map(str, shape))} values, but {got} bytes of them")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: it can't be unpacked ({str(error).rstrip('.')})") from error
