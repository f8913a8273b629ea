"""The digits experiment: a trained network made Bayesian, and shown digits of a kind that it never saw.

scikit-learn bundles the data (1,797 handwritten digits of 8 x 8 pixels), so nothing is downloaded.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import posterity as pt
from posterity.cli.randomness import own_randomness_and_threads
from posterity.runtime import Progress
from posterity.toolbox import auroc, expected_calibration_error, negative_log_likelihood

BATCH_SIZE = 64


class DigitsMetrics(NamedTuple):
    """The figures of one run: on test images of known digits, and on telling the unknown ones from them."""

    accuracy: float
    nll: float
    ece: float
    accuracy_deterministic: float
    nll_deterministic: float
    ece_deterministic: float
    ood_auroc_epistemic: float
    ood_auroc_softmax: float
    seconds: float


class DigitsData(NamedTuple):
    """Images `[batch, 1, 8, 8]` from 0 to 1, labels `[batch]` indexing `classes`, digits `[batch]`."""

    classes: tuple[int, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    unknown_images: Tensor
    unknown_digits: Tensor


class DigitsResult(NamedTuple):
    """The figures of one run with what they were computed from.

    Attributes:
        metrics: The figures.
        data: The images.
        known: The Bayesian network's answers on the test images.
        unknown: Its answers on the held-out digits.
        deterministic_probs: `[test, classes]`, the deterministic network's probabilities on the test images.
    """

    metrics: DigitsMetrics
    data: DigitsData
    known: pt.Prediction
    unknown: pt.Prediction
    deterministic_probs: Tensor


def run_digits(
    held_out: Sequence[int] = (8, 9),
    seed: int = 0,
    *,
    epochs: int = 40,
    bayesian_epochs: int = 30,
    num_samples: int = 64,
    progress: bool = False,
) -> DigitsResult:
    """Train on all digits but `held_out`, make the network Bayesian, train on, and ask it about all digits.

    The caller's random generator and number of threads are as before afterwards; the same arguments give the
    same figures (`seconds` aside).

    Args:
        held_out: The digits never shown in training.
        seed: What the split, the initial weights and all draws follow from; from 0 to 2**32 - 1.
        epochs: How often the ordinary training goes through the data.
        bayesian_epochs: Likewise for the training after the conversion.
        num_samples: The number of posterior draws that a prediction averages.
        progress: Whether to show a live line.

    Raises:
        ValueError: If `held_out` or `seed` is out of range, as `check_arguments` says, or a number of epochs is
            less than 1.
        ModuleNotFoundError: If scikit-learn isn't installed.
    """
    check_arguments(held_out, seed)
    if epochs < 1 or bayesian_epochs < 1:
        raise ValueError(f"both trainings need at least 1 epoch; got {epochs} and {bayesian_epochs}")
    start = time.perf_counter()
    with own_randomness_and_threads(seed):
        data = load_digits(held_out, seed)
        network = new_network(len(data.classes))
        train(network, data, epochs, progress)
        with torch.no_grad():
            deterministic_probs = network(data.test_images).softmax(-1)
            deterministic_probs_unknown = network(data.unknown_images).softmax(-1)

        bnn = pt.bayesianize(network)
        train_bayesian(bnn, data, bayesian_epochs, progress)
        with Progress("Asking it", total=2, enabled=progress) as line:
            known = ask(bnn, data.test_images, num_samples, seed)
            line.update()
            unknown = ask(bnn, data.unknown_images, num_samples, seed)
            line.update()
        metrics = DigitsMetrics(
            accuracy=_accuracy(known.mean, data.test_labels),
            nll=negative_log_likelihood(known.mean, data.test_labels).item(),
            ece=expected_calibration_error(known.mean, data.test_labels).item(),
            accuracy_deterministic=_accuracy(deterministic_probs, data.test_labels),
            nll_deterministic=negative_log_likelihood(deterministic_probs, data.test_labels).item(),
            ece_deterministic=expected_calibration_error(deterministic_probs, data.test_labels).item(),
            ood_auroc_epistemic=auroc(known.epistemic, unknown.epistemic).item(),
            ood_auroc_softmax=auroc(entropy(deterministic_probs), entropy(deterministic_probs_unknown)).item(),
            seconds=time.perf_counter() - start,
        )
    return DigitsResult(metrics, data, known, unknown, deterministic_probs)


def check_arguments(held_out: Sequence[int], seed: int) -> None:
    """Raise a `ValueError` unless `held_out` leaves at least two digits to learn and `seed` is one.

    Example:
        >>> check_arguments([8, 8], seed=0)
        Traceback (most recent call last):
            ...
        ValueError: held-out digits are repeated: 8 8
    """
    digits = " ".join(str(digit) for digit in held_out)
    if not held_out:
        raise ValueError("at least one digit must be held out")
    if any(digit not in range(10) for digit in held_out):
        raise ValueError(f"held-out digits must lie in 0..9; got {digits}")
    if len(set(held_out)) < len(held_out):
        raise ValueError(f"held-out digits are repeated: {digits}")
    if len(held_out) > 8:
        raise ValueError(f"holding out {digits} leaves fewer than 2 digits to learn")
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must lie in 0..{2**32 - 1}; got {seed}")


def load_digits(held_out: Sequence[int], seed: int) -> DigitsData:
    """scikit-learn's digits: a quarter of the known ones kept for testing, and all unknown ones."""
    try:
        from sklearn.datasets import load_digits as bundled_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "the digits come with scikit-learn: pip install 'posterity[demo]'", name=missing.name
        ) from missing
    bundled = bundled_digits()
    images = torch.from_numpy(bundled.images).float().unsqueeze(1) / 16
    digits = torch.from_numpy(bundled.target).long()
    classes = tuple(digit for digit in range(10) if digit not in held_out)
    is_known = torch.isin(digits, torch.tensor(classes))
    known_images, labels = images[is_known], torch.searchsorted(torch.tensor(classes), digits[is_known])
    train_rows, test_rows = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=0.25, stratify=labels.numpy(), random_state=seed
    )
    return DigitsData(
        classes,
        known_images[train_rows],
        labels[train_rows],
        known_images[test_rows],
        labels[test_rows],
        images[~is_known],
        digits[~is_known],
    )


def new_network(num_classes: int) -> nn.Sequential:
    """A small convolutional network for images of 8 x 8: about 22,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )


def train(network: nn.Module, data: DigitsData, epochs: int, progress: bool = False) -> None:
    """Train an ordinary network in the ordinary way."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    with Progress("Training", total=epochs * _num_batches(data), enabled=progress) as line:
        for images, labels in _batches(data, epochs):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            line.update(loss=loss.detach())


def train_bayesian(bnn: nn.Module, data: DigitsData, epochs: int, progress: bool = False) -> None:
    """Train a Bayesian network in the ordinary way: only the loss has a second term, the KL.

    The learning rate falls to zero, since the gradients of a Bayesian network are noisy to the end.
    """
    optimizer = torch.optim.Adam(bnn.parameters(), lr=3e-3, fused=True)
    steps = epochs * _num_batches(data)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with Progress("Training, Bayesian", total=steps, enabled=progress) as line:
        for images, labels in _batches(data, epochs):
            nll = F.cross_entropy(bnn(images), labels)
            loss = pt.elbo_loss(bnn, nll, num_data=len(data.train_labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            line.update(loss=loss.detach(), nll=nll.detach())


def ask(bnn: nn.Module, images: Tensor, num_samples: int, seed: int) -> pt.Prediction:
    """What a Bayesian network says about images, with the weight draws that follow from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    return pt.predict(bnn, images, num_samples=num_samples, task="classification", generator=generator)


def entropy(probs: Tensor) -> Tensor:
    """The entropy of each row of `probs`, in nats."""
    terms: Tensor = torch.special.entr(probs)
    return terms.sum(-1)


def _num_batches(data: DigitsData) -> int:
    return -(-len(data.train_labels) // BATCH_SIZE)


def _batches(data: DigitsData, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(data.train_labels)), BATCH_SIZE):
            yield data.train_images[rows], data.train_labels[rows]


def _accuracy(probs: Tensor, labels: Tensor) -> float:
    return (probs.argmax(-1) == labels).double().mean().item()
