"""The digits for the autoencoder: split by class, read from MNIST's files, and refused where they are others."""

import gzip
import sys
from pathlib import Path

import pytest
import torch

from posterity.cli.vae_data import bundled_digits, mnist

pytest.importorskip("sklearn")


def write_set(directory: Path, part: str = "train", number: int = 100, side: int = 28, zipped: bool = True) -> None:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(256, (number, side, side), dtype=torch.uint8, generator=generator)
    write(directory / f"{part}-images-idx3-ubyte", images, zipped)
    write(directory / f"{part}-labels-idx1-ubyte", (torch.arange(number) % 10).to(torch.uint8), zipped)


def write(path: Path, values: torch.Tensor, zipped: bool = False) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = bytes([0, 0, 8, values.dim()]) + sizes + values.numpy().tobytes()
    if zipped:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def test_a_quarter_of_each_bundled_digit_is_for_testing():
    data = bundled_digits(3)
    assert (len(data.train_images) + len(data.test_images), data.levels) == (1797, 17)
    share = data.test_labels.bincount() / (data.test_labels.bincount() + data.train_labels.bincount())
    assert ((share - 0.25).abs() < 0.01).all()
    assert len(torch.cat([data.train_images, data.test_images]).flatten(1).unique(dim=0)) == 1797
    assert (data.grey(data.train_images).min(), data.grey(data.train_images).max()) == (0, 1)
    assert not torch.equal(bundled_digits(4).test_images, data.test_images)


def test_the_autoencoder_gets_grey_levels_of_the_bundled_digits_and_drawn_bits_of_mnist(tmp_path: Path):
    data = bundled_digits(0)
    assert torch.equal(data.as_vectors(data.test_images).unique(), torch.arange(17.0))
    write_set(tmp_path)
    data = mnist(tmp_path, 0)
    drawn = torch.stack([data.as_vectors(data.train_images[:2]) for _ in range(4000)])
    assert torch.equal(drawn.unique(), torch.tensor([0.0, 1.0]))
    # 1568 pixels at a false alarm of 1e-6 altogether: 6.2 standard deviations of at most 0.5 / sqrt(4000).
    assert (drawn.mean(0) - data.grey(data.train_images[:2]).flatten(1)).abs().max() < 6.2 * 0.5 / 4000**0.5


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_mnists_four_files_are_read_as_they_are(tmp_path: Path, zipped: bool):
    write_set(tmp_path, "train", 100, zipped=zipped)
    write_set(tmp_path, "t10k", 40, zipped=zipped)
    data = mnist(tmp_path, 0)
    assert data.train_images.shape == (100, 28, 28)
    assert torch.equal(data.test_labels, torch.arange(40) % 10)


def test_of_the_training_set_alone_a_quarter_is_kept(tmp_path: Path):
    write_set(tmp_path)
    data = mnist(tmp_path, 0)
    assert (len(data.train_images), len(data.test_images)) == (80, 20)
    assert data.test_labels.bincount().tolist() == [2] * 10


def _no_labels(place: Path) -> None:
    (place / "train-labels-idx1-ubyte.gz").unlink()


def _half_a_test_set(place: Path) -> None:
    write(place / "t10k-images-idx3-ubyte", torch.zeros(10, 28, 28, dtype=torch.uint8))


def _too_few_labels(place: Path) -> None:
    write(place / "train-labels-idx1-ubyte", torch.arange(99).remainder(10).to(torch.uint8))


def _letters(place: Path) -> None:
    write(place / "train-labels-idx1-ubyte", torch.arange(100).remainder(27).to(torch.uint8))


def _no_nines(place: Path) -> None:
    write(place / "train-labels-idx1-ubyte", torch.arange(100).remainder(9).to(torch.uint8))


def _other_sizes(place: Path) -> None:
    write_set(place, "t10k", 40, side=20)


def _tiny(place: Path) -> None:
    write_set(place, side=5, zipped=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_labels, r"lacks train-labels-idx1-ubyte \(or train-labels-idx1-ubyte.gz\)"),
        (_half_a_test_set, "lacks t10k-labels-idx1-ubyte"),
        (_too_few_labels, "has 99 labels for 100 images"),
        (_letters, "its labels go up to 26, and digits only to 9"),
        (_no_nines, "has only 0 of the digit 9; 4 of each are needed"),
        (_other_sizes, "the test images have 20 x 20 pixels, the training images 28 x 28"),
        (_tiny, "images of 5 x 5 pixels are smaller than digits can be"),
    ],
)
def test_files_that_are_not_mnists_are_refused_by_name(tmp_path: Path, change, message: str):
    write_set(tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path, 0)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="nowhere is no folder; it must be the one that holds MNIST's files"):
        mnist(tmp_path / "nowhere", 0)


def test_missing_data_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn: pip install 'posterity\[demo\]'"):
        bundled_digits(0)
