"""The handwritten digits that the autoencoder learns: scikit-learn's bundled ones, or MNIST's own files."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from posterity.cli.idx import read_idx

# Below this an image has too few pixels for the classifier's two poolings.
_LEAST_SIDE = 8
_HELD_OUT = 0.25


class VAEData(NamedTuple):
    """Handwritten digits, some kept for testing.

    Attributes:
        name: What they are called.
        levels: How many grey levels a pixel has; 0 is black.
        binarised: Whether a grey value stands for the probability of white, which is drawn each time.
        train_images: `[train, height, width]`, type uint8.
        train_labels: `[train]`, from 0 to 9.
        test_images: `[test, height, width]`, type uint8.
        test_labels: `[test]`, from 0 to 9.
    """

    name: str
    levels: int
    binarised: bool
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def grey(self, images: Tensor) -> Tensor:
        """Images from 0, black, to 1, white."""
        return images.to(torch.get_default_dtype()) / (self.levels - 1)

    def as_vectors(self, images: Tensor) -> Tensor:
        """Images `[batch, height, width]` as the autoencoder takes them: vectors of pixels, drawn if binarised."""
        vectors = images.flatten(1)
        return self.grey(vectors).bernoulli() if self.binarised else vectors.to(torch.get_default_dtype())


def bundled_digits(seed: int) -> VAEData:
    """scikit-learn's 1,797 digits of 8 x 8 pixels in 17 grey levels, a quarter of them kept for testing.

    Args:
        seed: What the split follows from.

    Raises:
        ModuleNotFoundError: If scikit-learn isn't installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "the digits come with scikit-learn: pip install 'posterity[demo]'", name=missing.name
        ) from missing
    bundled = load_digits()
    images = torch.from_numpy(bundled.images).to(torch.uint8)
    return _split("scikit-learn's digits", 17, False, images, torch.from_numpy(bundled.target).long(), seed)


def mnist(directory: Path, seed: int) -> VAEData:
    """MNIST from its own files, gzipped or not: the four, or the two of the training set.

    Without the test set's files a quarter of the training set is kept for testing. Grey values are binarised, as in
    most of what is published about MNIST.

    Args:
        directory: The folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each with or without `.gz` at its end.
        seed: What the split follows from, if there is one.

    Raises:
        OSError: If a file can't be read.
        ValueError: If a file is missing, damaged, or of another kind.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory} is no folder; it must be the one that holds MNIST's files")
    images, labels = _images_and_labels(directory, "train")
    if _find(directory, "t10k-images-idx3-ubyte") is None and _find(directory, "t10k-labels-idx1-ubyte") is None:
        return _split("MNIST", 256, True, images, labels, seed)
    test_images, test_labels = _images_and_labels(directory, "t10k")
    if test_images.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"{directory}: the test images have {_size(test_images)} pixels, the training images {_size(images)}"
        )
    return VAEData("MNIST", 256, True, images, labels, test_images, test_labels)


def _images_and_labels(directory: Path, part: str) -> tuple[Tensor, Tensor]:
    images = read_idx(_found(directory, f"{part}-images-idx3-ubyte"), 3)
    path = _found(directory, f"{part}-labels-idx1-ubyte")
    labels = read_idx(path, 1).long()
    if len(images) != len(labels):
        raise ValueError(f"{path} has {len(labels)} labels for {len(images)} images")
    if min(images.shape[1:]) < _LEAST_SIDE:
        raise ValueError(f"{directory}: images of {_size(images)} pixels are smaller than digits can be")
    counts = labels.bincount(minlength=10)
    if len(counts) > 10:
        raise ValueError(f"{path} is no file of MNIST's: its labels go up to {len(counts) - 1}, and digits only to 9")
    # Each class needs one to learn from and, where the set is split, one to test on.
    if counts.min() < 4:
        raise ValueError(f"{path} has only {counts.min()} of the digit {counts.argmin()}; 4 of each are needed")
    return images, labels


def _found(directory: Path, name: str) -> Path:
    path = _find(directory, name)
    if path is None:
        raise ValueError(f"{directory} lacks {name} (or {name}.gz)")
    return path


def _find(directory: Path, name: str) -> Path | None:
    return next((path for path in (directory / name, directory / f"{name}.gz") if path.is_file()), None)


def _size(images: Tensor) -> str:
    return " x ".join(map(str, images.shape[1:]))


def _split(name: str, levels: int, binarised: bool, images: Tensor, labels: Tensor, seed: int) -> VAEData:
    """Keep the same share of each class for testing."""
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for digit in labels.unique().tolist():
        rows = (labels == digit).nonzero().squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        kept = round(_HELD_OUT * len(rows))
        test.append(rows[:kept])
        train.append(rows[kept:])
    first, second = torch.cat(train), torch.cat(test)
    return VAEData(name, levels, binarised, images[first], labels[first], images[second], labels[second])
