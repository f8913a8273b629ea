"""Calibration figures agree with an independent implementation, and with what can be counted by hand."""

import math

import pytest
import torch
from torch import Tensor

from posterity.toolbox import expected_calibration_error, negative_log_likelihood, reliability


def answers(batch: int = 500, classes: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (batch,), generator=generator)
    logits[torch.arange(batch), labels] += 1.5
    return logits.softmax(-1).to(dtype), labels


@pytest.mark.parametrize("num_bins", [1, 5, 15, 40])
def test_ece_agrees_with_torchmetrics(num_bins: int):
    classification = pytest.importorskip("torchmetrics.functional.classification")
    probs, labels = answers()
    theirs = classification.multiclass_calibration_error(
        probs, labels, num_classes=probs.shape[1], n_bins=num_bins, norm="l1"
    )
    ours = expected_calibration_error(probs, labels, num_bins)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)  # theirs is summed in single precision


def test_bins_count_every_example_once_and_hold_their_means():
    probs, labels = answers()
    curve = reliability(probs, labels, num_bins=10)
    confidence, predicted = probs.max(-1)
    assert curve.count.sum() == len(labels)
    inside = (confidence > 0.6) & (confidence <= 0.7)
    assert curve.count[6] == inside.sum()
    torch.testing.assert_close(curve.confidence[6], confidence[inside].mean())
    torch.testing.assert_close(curve.accuracy[6], (predicted == labels)[inside].double().mean())


def test_an_empty_bin_has_no_accuracy_and_no_weight():
    probs, labels = torch.tensor([[0.9, 0.1], [0.1, 0.9]]), torch.tensor([0, 1])
    curve = reliability(probs, labels, num_bins=4)
    assert curve.count.tolist() == [0, 0, 0, 2]
    assert curve.accuracy[:3].isnan().all()
    assert expected_calibration_error(probs, labels, num_bins=4).item() == pytest.approx(0.1)


def test_certainty_of_one_falls_into_the_last_bin():
    curve = reliability(torch.tensor([[1.0, 0.0], [0.99, 0.01]]), torch.tensor([0, 0]))
    assert curve.count[-1] == 2


def test_nll_is_the_cross_entropy_of_log_probabilities():
    probs, labels = answers()
    expected = torch.nn.functional.nll_loss(probs.log(), labels)
    torch.testing.assert_close(negative_log_likelihood(probs, labels), expected)


def test_nll_of_what_was_ruled_out_is_infinite():
    nll = negative_log_likelihood(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert nll.item() == math.inf


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_summed_in_single_precision(dtype: torch.dtype):
    probs, labels = answers(dtype=dtype)
    assert expected_calibration_error(probs, labels).dtype == torch.float32
    exact, _ = answers()
    roundoff = 4 * torch.finfo(dtype).eps
    assert abs(negative_log_likelihood(probs, labels) - negative_log_likelihood(exact, labels)) < roundoff


def test_labels_may_be_of_any_integer_type():
    probs, labels = answers()
    narrow = labels.to(torch.int32)
    assert negative_log_likelihood(probs, narrow) == negative_log_likelihood(probs, labels)
    assert expected_calibration_error(probs, narrow) == expected_calibration_error(probs, labels)


TWO = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
ZERO_ONE = torch.tensor([0, 1])

BAD = {
    "probs of one dimension": (TWO[:, 0], ZERO_ONE, ValueError, r"probs must be \[batch, classes\].*\(2,\)"),
    "labels one-hot": (TWO, TWO.long(), ValueError, r"labels \[batch\].*\(2, 2\)"),
    "another batch": (TWO, torch.tensor([0]), ValueError, r"same batch; got \(2, 2\) and \(1,\)"),
    "empty": (torch.empty(0, 2), torch.empty(0, dtype=torch.long), ValueError, "empty"),
    "no classes": (torch.empty(2, 0), ZERO_ONE, ValueError, "empty"),
    "integer probs": (TWO.long(), ZERO_ONE, TypeError, "floating-point; got torch.int64"),
    "float labels": (TWO, ZERO_ONE.float(), TypeError, "integers; got torch.float32"),
    "boolean labels": (TWO, ZERO_ONE.bool(), TypeError, "integers; got torch.bool"),
    "NaN": (TWO * float("nan"), ZERO_ONE, ValueError, "NaN or infinite"),
    "logits": (TWO * 3, ZERO_ONE, ValueError, "are these logits"),
    "negative": (torch.tensor([[-0.5, 1.5], [0.5, 0.5]]), ZERO_ONE, ValueError, "smallest entry is -0.5"),
    "label too large": (TWO, torch.tensor([0, 2]), ValueError, r"0\.\.1.*from 0 to 2"),
    "label negative": (TWO, torch.tensor([-1, 1]), ValueError, r"0\.\.1.*from -1 to 1"),
}


@pytest.mark.parametrize("function", [reliability, expected_calibration_error, negative_log_likelihood])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(function, case: str):
    probs, labels, error, message = BAD[case]
    with pytest.raises(error, match=message):
        function(probs, labels)


@pytest.mark.parametrize("function", [reliability, expected_calibration_error])
def test_no_bins_are_refused(function):
    with pytest.raises(ValueError, match="num_bins must be at least 1; got 0"):
        function(TWO, ZERO_ONE, num_bins=0)
