"""The autoencoder experiment: a network learns to write digits, and a judge that only saw real ones reads them."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posterity.cli.randomness import own_randomness_and_threads
from posterity.cli.vae_data import VAEData
from posterity.networks import ConditionalVAE, DiscretizedLogisticLikelihood
from posterity.runtime import Progress, eval_mode

NUM_CLASSES = 10
NUM_GENERATED = 2000
_NUM_IMPORTANCE_SAMPLES = 200
# The bound and the likelihood are estimated on at most so many test images, which lie evenly over the test set.
_MOST_TEST_IMAGES = 1000
CLASSIFIER_STEPS = 700
_CLASSIFIER_BATCH = 64


class VAEMetrics(NamedTuple):
    """The figures of one run; those of the autoencoder are about test images.

    Attributes:
        data: What the digits are called.
        num_train: How many images were learnt from.
        num_test: How many test images the bound and the likelihood are means over.
        epochs: How often the autoencoder went through the training images.
        test_bound_nats: The evidence lower bound of log p(image | class).
        test_bound_bits_per_dimension: The same as a code length for each pixel; less is better.
        test_log_likelihood_nats: log p(image | class) by importance sampling.
        test_log_likelihood_bits_per_dimension: The same as a code length for each pixel.
        num_importance_samples: How many codes were drawn for each image.
        classifier_accuracy: How many of all real test images the judge reads right.
        agreement: How many of the generated digits the judge reads as what they were meant to be.
        agreement_low: The lower end of the agreement's 95 % interval.
        agreement_high: Its upper end.
        num_generated: How many digits were generated for that, as many of each class.
        seconds: What all took.
    """

    data: str
    num_train: int
    num_test: int
    epochs: int
    test_bound_nats: float
    test_bound_bits_per_dimension: float
    test_log_likelihood_nats: float
    test_log_likelihood_bits_per_dimension: float
    num_importance_samples: int
    classifier_accuracy: float
    agreement: float
    agreement_low: float
    agreement_high: float
    num_generated: int
    seconds: float


class VAEResult(NamedTuple):
    """The figures of one run with what they were computed from.

    Attributes:
        metrics: The figures.
        vae: The trained autoencoder; data are vectors of pixels.
        data: The images.
        losses: `[steps]`, the negative bound in nats at each step.
    """

    metrics: VAEMetrics
    vae: ConditionalVAE
    data: VAEData
    losses: Tensor


class Settings(NamedTuple):
    """What suits a data set's size."""

    hidden_size: int
    latent_size: int
    batch_size: int
    lr: float
    epochs: int


SMALL = Settings(hidden_size=256, latent_size=8, batch_size=64, lr=2e-3, epochs=80)
LARGE = Settings(hidden_size=400, latent_size=12, batch_size=128, lr=2e-3, epochs=10)


def run_vae(
    data: VAEData,
    seed: int = 0,
    *,
    epochs: int | None = None,
    num_generated: int = NUM_GENERATED,
    classifier_steps: int = CLASSIFIER_STEPS,
    progress: bool = False,
) -> VAEResult:
    """Train a conditional autoencoder and a judge, and measure the first with the test images and the second.

    The caller's random generator and number of threads are as before afterwards; the same arguments give the
    same figures on the same number of threads (`seconds` aside).

    Args:
        data: The digits.
        seed: What the initial weights and all draws follow from; from 0 to 2**32 - 1.
        epochs: How often the autoencoder goes through the training images. None: what suits the data.
        num_generated: How many digits the judge reads.
        classifier_steps: How many training steps the judge takes, rounded up to whole epochs.
        progress: Whether to show a live line.

    Raises:
        ValueError: If `seed` or `epochs` is out of range, as `check_arguments` says.
    """
    check_arguments(seed, epochs)
    start = time.perf_counter()
    settings = settings_for(data)
    epochs = settings.epochs if epochs is None else epochs
    # So small networks gain nothing from more threads than one, larger ones do.
    with own_randomness_and_threads(seed, 1 if settings is SMALL else None):
        vae = new_vae(data, settings)
        losses = train_vae(vae, data, settings, epochs, progress)
        judge = train_classifier(data, progress, classifier_steps)
        with Progress("Measuring", total=3, enabled=progress) as line:
            bound, log_likelihood, num_test = measure(vae, data, line)
            real, generated = agreement(vae, judge, data, num_generated)
            line.update()
        bits = 1 / (math.log(2) * data.train_images[0].numel())
        low, high = binomial_interval(generated, num_generated)
        metrics = VAEMetrics(
            data=data.name,
            num_train=len(data.train_images),
            num_test=num_test,
            epochs=epochs,
            test_bound_nats=bound,
            test_bound_bits_per_dimension=-bound * bits,
            test_log_likelihood_nats=log_likelihood,
            test_log_likelihood_bits_per_dimension=-log_likelihood * bits,
            num_importance_samples=_NUM_IMPORTANCE_SAMPLES,
            classifier_accuracy=real,
            agreement=generated,
            agreement_low=low,
            agreement_high=high,
            num_generated=num_generated,
            seconds=time.perf_counter() - start,
        )
    return VAEResult(metrics, vae, data, losses)


def check_arguments(seed: int, epochs: int | None = None) -> None:
    """Raise a `ValueError` unless `seed` is one and there is an epoch.

    Example:
        >>> check_arguments(0, epochs=0)
        Traceback (most recent call last):
            ...
        ValueError: the training needs at least 1 epoch; got 0
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must lie in 0..{2**32 - 1}; got {seed}")
    if epochs is not None and epochs < 1:
        raise ValueError(f"the training needs at least 1 epoch; got {epochs}")


def settings_for(data: VAEData) -> Settings:
    """What suits the images' size."""
    return SMALL if data.train_images[0].numel() <= 256 else LARGE


def new_vae(data: VAEData, settings: Settings) -> ConditionalVAE:
    """A conditional autoencoder of two hidden layers each way, for vectors of pixels."""
    pixels, width = data.train_images[0].numel(), settings.hidden_size
    first = nn.Linear(pixels + NUM_CLASSES, width)
    encoder = nn.Sequential(first, nn.SiLU(), nn.Linear(width, width), nn.SiLU())
    decoder = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, pixels))
    likelihood = "bernoulli" if data.binarised else DiscretizedLogisticLikelihood(data.levels)
    # The class is one number among many. Begun as an embedding's rows are (as the model begins its own), its weights
    # are heard beside the others; otherwise the code would learn to tell the class, and one drawn would contradict it.
    nn.init.normal_(first.weight[:, -NUM_CLASSES:])
    return ConditionalVAE(encoder, decoder, width, settings.latent_size, NUM_CLASSES, likelihood=likelihood)


def train_vae(vae: ConditionalVAE, data: VAEData, settings: Settings, epochs: int, progress: bool = False) -> Tensor:
    """Train in the ordinary way, by a learning rate that falls to zero; the losses come back, `[steps]`."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=settings.lr, fused=True)
    steps = epochs * -(-len(data.train_images) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = torch.empty(steps)
    with Progress("Learning to write", total=steps, enabled=progress) as line:
        for step, (images, labels) in enumerate(_batches(data, epochs, settings.batch_size)):
            loss = vae.loss(data.as_vectors(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[step] = loss.detach()
            line.update(loss=losses[step])
    return losses


def train_classifier(data: VAEData, progress: bool = False, steps: int = CLASSIFIER_STEPS) -> nn.Module:
    """The judge: a convolutional network that is trained on real training images only, shifted and turned a little."""
    height, width = data.train_images.shape[1:]
    judge = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, stride=1 if height < 16 else 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d((min(4, height // 2), min(4, width // 2))),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 16, NUM_CLASSES),
    )
    each = -(-len(data.train_images) // _CLASSIFIER_BATCH)
    epochs = -(-steps // each)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=1e-3, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * each)
    with Progress("A judge learns to read", total=epochs * each, enabled=progress) as line:
        for images, labels in _batches(data, epochs, _CLASSIFIER_BATCH):
            loss = F.cross_entropy(judge(_moved(data.grey(images).unsqueeze(1))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            line.update(loss=loss.detach())
    return judge


@torch.no_grad()
def measure(vae: ConditionalVAE, data: VAEData, line: Progress) -> tuple[float, float, int]:
    """The bound and the log likelihood in nats, means over test images, and how many these were."""
    number = min(len(data.test_images), _MOST_TEST_IMAGES)
    rows = torch.arange(number) * len(data.test_images) // number
    x, y = data.as_vectors(data.test_images[rows]), data.test_labels[rows]
    # A few draws of each code: the bound's own noise is then far below that of the choice of images.
    bound = -torch.stack([vae.loss(x, y) for _ in range(10)]).mean().item()
    line.update()
    log_likelihood = vae.log_likelihood(x, y, _NUM_IMPORTANCE_SAMPLES).mean().item()
    line.update()
    return bound, log_likelihood, number


@torch.no_grad()
def agreement(vae: ConditionalVAE, judge: nn.Module, data: VAEData, num_generated: int) -> tuple[float, float]:
    """The share of real test images that the judge reads right, and of generated ones that it reads as meant."""
    meant = torch.arange(num_generated) % NUM_CLASSES
    drawn = vae.generate(num_generated, meant).unflatten(1, data.train_images.shape[1:])
    with eval_mode(judge):
        real, generated = (
            torch.cat([judge(grey.unsqueeze(1)).argmax(-1) for grey in images.split(1000)])
            for images in (data.grey(data.test_images), drawn if data.binarised else data.grey(drawn))
        )
    right, as_meant = (real == data.test_labels).double().mean(), (generated == meant).double().mean()
    return right.item(), as_meant.item()


def binomial_interval(share: float, number: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a probability, from the share of successes.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> [round(end, 3) for end in binomial_interval(0.98, 2000)]
        [0.973, 0.985]
    """
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    return middle - half, middle + half


def _moved(images: Tensor) -> Tensor:
    """Images turned by up to 10 degrees, shifted by up to a twentieth of their size, scaled by up to a tenth."""
    turn, scale, *shift = (2 * torch.rand(4, len(images)) - 1) * torch.tensor([[math.pi / 18], [0.1], [0.1], [0.1]])
    cosine, sine = (1 + scale) * turn.cos(), (1 + scale) * turn.sin()
    rows = [torch.stack([cosine, -sine, shift[0]], -1), torch.stack([sine, cosine, shift[1]], -1)]
    places = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, places, align_corners=False)


def _batches(data: VAEData, epochs: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(data.train_labels)), batch_size):
            yield data.train_images[rows], data.train_labels[rows]
