"""The digits experiment learns, repeats itself for a seed, and leaves nothing changed behind it."""

import math
import sys

import pytest
import torch

from posterity.cli.digits import DigitsResult, check_arguments, load_digits, new_network, run_digits

pytest.importorskip("sklearn")


def quick(**changes) -> DigitsResult:
    return run_digits(**{"epochs": 6, "bayesian_epochs": 3, "num_samples": 8} | changes)


@pytest.fixture(scope="module")
def result() -> DigitsResult:
    return quick()


def test_a_few_epochs_are_enough_to_read_digits(result: DigitsResult):
    metrics = result.metrics
    assert metrics.accuracy > 0.9
    assert metrics.accuracy_deterministic > 0.9
    assert metrics.ood_auroc_epistemic > 0.75
    assert metrics.ood_auroc_softmax > 0.75
    assert all(math.isfinite(value) for value in metrics)


def test_the_metrics_are_those_of_the_predictions(result: DigitsResult):
    right = result.known.mean.argmax(-1) == result.data.test_labels
    assert result.metrics.accuracy == pytest.approx(right.double().mean().item())
    right = result.deterministic_probs.argmax(-1) == result.data.test_labels
    assert result.metrics.accuracy_deterministic == pytest.approx(right.double().mean().item())


def test_the_same_seed_gives_the_same_figures(result: DigitsResult):
    assert quick().metrics._replace(seconds=0) == result.metrics._replace(seconds=0)


def test_another_seed_gives_others(result: DigitsResult):
    assert quick(seed=1).metrics.nll != result.metrics.nll


def test_the_callers_randomness_and_threads_are_as_before():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    quick(epochs=1, bayesian_epochs=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_held_out_digits_are_never_in_training():
    data = load_digits((0, 3), seed=0)
    assert data.classes == (1, 2, 4, 5, 6, 7, 8, 9)
    assert set(data.unknown_digits.tolist()) == {0, 3}
    assert set(data.train_labels.tolist()) == set(range(8))
    sizes = len(data.train_images), len(data.test_images), len(data.unknown_images)
    assert sum(sizes) == 1797
    everything = torch.cat([data.train_images, data.test_images, data.unknown_images]).flatten(1)
    assert len(everything.unique(dim=0)) == 1797
    assert (everything.min(), everything.max()) == (0, 1)


def test_the_split_is_stratified():
    data = load_digits((8, 9), seed=0)
    share = data.test_labels.bincount() / (data.test_labels.bincount() + data.train_labels.bincount())
    assert ((share - 0.25).abs() < 0.01).all()


def test_the_network_is_small():
    assert 10_000 < sum(parameter.numel() for parameter in new_network(8).parameters()) < 30_000


@pytest.mark.parametrize(
    ("held_out", "seed", "message"),
    [
        ([10], 0, r"must lie in 0\.\.9; got 10"),
        ([-1, 3], 0, r"must lie in 0\.\.9; got -1 3"),
        ([8, 9, 8], 0, "repeated: 8 9 8"),
        (range(9), 0, "leaves fewer than 2 digits"),
        ([], 0, "at least one digit"),
        ([8], -1, r"seed must lie in 0\.\.4294967295; got -1"),
        ([8], 2**32, "seed must lie in"),
    ],
)
def test_bad_arguments_are_named(held_out, seed: int, message: str):
    with pytest.raises(ValueError, match=message):
        check_arguments(held_out, seed)
    with pytest.raises(ValueError, match=message):
        run_digits(held_out, seed)


@pytest.mark.parametrize("epochs", [(0, 1), (1, 0)])
def test_no_epochs_are_refused(epochs: tuple[int, int]):
    with pytest.raises(ValueError, match=f"at least 1 epoch; got {epochs[0]} and {epochs[1]}"):
        quick(epochs=epochs[0], bayesian_epochs=epochs[1])


def test_missing_data_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn: pip install 'posterity\[demo\]'"):
        run_digits()
