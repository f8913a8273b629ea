"""The reader of idx files gives back what was written, and names what is wrong with a file."""

import gzip
from pathlib import Path

import pytest
import torch

from posterity.cli.idx import read_idx

IMAGES = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(2, 3, 4)


def content(values: torch.Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.dim()]) + sizes + values.numpy().tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_file_gives_back_what_was_written(tmp_path: Path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(content(IMAGES)))
    assert torch.equal(read_idx(path, 3), IMAGES)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "is no idx file"),
        (b"\x89PNG\r\n", "is no idx file"),
        (b"\0\0\x0d\x03" + content(IMAGES)[4:], "holds floats; MNIST's files hold bytes"),
        (content(IMAGES[0]), "has 2 dimensions; 3 were expected"),
        (content(IMAGES)[:9], "cut short: it ends within its header"),
        (content(IMAGES)[:-1], "cut short: 2 x 3 x 4 values, but 23 bytes"),
        (content(IMAGES) + b"\0", "longer than it says: 2 x 3 x 4 values, but 25 bytes"),
        (gzip.compress(content(IMAGES), mtime=0)[:-9], "is damaged: it can't be unpacked"),
        (b"\x1f\x8b\x08" + b"rubbish", "is damaged: it can't be unpacked"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path, damaged: bytes, message: str):
    path = tmp_path / "some-file"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"some-file.*{message}"):
        read_idx(path, 3)


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing", 1)
