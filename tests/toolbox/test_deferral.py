"""The deferral curve is what is left when the most uncertain cases are taken away."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posterity.toolbox import deferral_curve


def test_the_most_uncertain_go_first():
    curve = deferral_curve(torch.tensor([0.3, 0.1, 0.9, 0.2]), torch.tensor([True, True, False, False]))
    torch.testing.assert_close(curve.fraction_deferred, torch.tensor([0, 0.25, 0.5, 0.75]))
    torch.testing.assert_close(curve.accuracy_of_the_rest, torch.tensor([0.5, 2 / 3, 0.5, 1.0]))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20), st.randoms())
def test_ties_make_it_an_expectation_that_no_order_changes(cases: list[tuple[int, bool]], random):
    shuffled = random.sample(cases, len(cases))
    curves = [
        deferral_curve(torch.tensor([u for u, _ in c]).float(), torch.tensor([r for _, r in c]))
        for c in (cases, shuffled)
    ]
    torch.testing.assert_close(curves[0].accuracy_of_the_rest, curves[1].accuracy_of_the_rest)


def test_all_tied_is_flat():
    curve = deferral_curve(torch.zeros(8), torch.arange(8) < 6)
    torch.testing.assert_close(curve.accuracy_of_the_rest, torch.full((8,), 0.75))


def test_nothing_deferred_is_the_plain_accuracy():
    generator = torch.Generator().manual_seed(0)
    correct = torch.rand(1000, generator=generator) < 0.8
    curve = deferral_curve(torch.rand(1000, generator=generator), correct)
    torch.testing.assert_close(curve.accuracy_of_the_rest[0], correct.float().mean())


ONES, RIGHT = torch.ones(3), torch.ones(3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("uncertainty", "correct", "error", "message"),
    [
        (ONES, RIGHT[:2], ValueError, r"one length; got shapes \(3,\) and \(2,\)"),
        (ONES[:, None], RIGHT[:, None], ValueError, "must be vectors"),
        (ONES[:0], RIGHT[:0], ValueError, "empty"),
        (ONES, ONES, TypeError, "correct must be boolean; got torch.float32"),
        (ONES * torch.nan, RIGHT, ValueError, "uncertainty holds NaN"),
    ],
)
def test_bad_input_is_named(uncertainty, correct, error, message: str):
    with pytest.raises(error, match=message):
        deferral_curve(uncertainty, correct)
