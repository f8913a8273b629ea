"""The autoencoder experiment learns, repeats itself for a seed, and measures what it says."""

import math

import pytest
import torch
from torch import nn

from posterity.cli.autoencoder import (
    SMALL,
    VAEResult,
    agreement,
    binomial_interval,
    check_arguments,
    new_vae,
    run_vae,
    settings_for,
    train_classifier,
)
from posterity.cli.vae_data import VAEData, bundled_digits

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def result() -> VAEResult:
    return run_vae(bundled_digits(0), epochs=6, num_generated=500, classifier_steps=150)


def test_a_few_epochs_are_enough_to_write_most_digits(result: VAEResult):
    metrics = result.metrics
    assert metrics.classifier_accuracy > 0.9
    assert metrics.agreement > 0.7
    assert result.losses[-20:].mean() < result.losses[:20].mean()
    assert (metrics.num_train, metrics.num_test, metrics.epochs) == (1347, 450, 6)
    assert all(math.isfinite(value) for value in metrics if isinstance(value, float))


def test_the_likelihood_lies_above_the_bound_and_below_nothing(result: VAEResult):
    metrics = result.metrics
    assert metrics.test_bound_nats < metrics.test_log_likelihood_nats < 0
    # Of 64 pixels, each of which would take log2(17) bits without a model.
    bits = metrics.test_log_likelihood_bits_per_dimension
    assert bits == pytest.approx(-metrics.test_log_likelihood_nats / (64 * math.log(2)))
    assert bits < math.log2(17)


def test_the_same_seed_gives_the_same_figures_and_the_callers_state_is_kept():
    data, threads = bundled_digits(1), torch.get_num_threads()
    small = data._replace(train_images=data.train_images[::7], train_labels=data.train_labels[::7])
    torch.manual_seed(5)
    first, second = (run_vae(small, 1, epochs=1, num_generated=50, classifier_steps=5).metrics for _ in range(2))
    assert first._replace(seconds=0) == second._replace(seconds=0)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.get_num_threads() == threads


def test_the_agreement_is_that_of_the_judge_with_what_was_asked_for():
    class Judge(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(torch.full((len(images),), 4), 10).float()

    data = bundled_digits(0)
    real, generated = agreement(new_vae(data, SMALL), Judge(), data, 200)
    assert generated == pytest.approx(0.1)
    assert real == pytest.approx((data.test_labels == 4).double().mean().item())


@pytest.mark.parametrize(("side", "binarised"), [(28, True), (14, False)])
def test_images_of_other_sizes_are_learnt_too(side: int, binarised: bool):
    images = torch.randint(256, (40, side, side), dtype=torch.uint8)
    labels = torch.arange(40) % 10
    data = VAEData("noise", 256, binarised, images, labels, images, labels)
    assert (settings_for(data) is SMALL) == (side < 16)
    vae = new_vae(data, settings_for(data)._replace(hidden_size=8))
    vae.loss(data.as_vectors(images), labels).backward()
    assert train_classifier(data, steps=1)(data.grey(images).unsqueeze(1)).shape == (40, 10)


def test_wilsons_interval_solves_its_equation():
    for share in (0.0, 0.5, 0.98, 1.0):
        for end in binomial_interval(share, 200):
            assert abs(share - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / 200), abs=1e-12)


@pytest.mark.parametrize(
    ("seed", "epochs", "message"),
    [
        (-1, None, r"seed must lie in 0\.\.4294967295; got -1"),
        (2**32, 3, "seed must lie in"),
        (0, 0, "at least 1 epoch; got 0"),
    ],
)
def test_bad_arguments_are_named(seed: int, epochs: int | None, message: str):
    with pytest.raises(ValueError, match=message):
        check_arguments(seed, epochs)


@pytest.mark.slow
def test_generated_digits_are_of_their_class():
    for seed in range(3):
        metrics = run_vae(bundled_digits(seed), seed).metrics
        assert metrics.agreement_low >= 0.95
        assert metrics.classifier_accuracy >= 0.98
