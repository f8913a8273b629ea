"""What a `Prediction` offers beside its fields."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import posterity as pt
from posterity import distributions as dist


def prediction(total: torch.Tensor) -> pt.Prediction:
    half = total / 2
    return pt.Prediction(total, half, half, dist.Normal(total, 1.0))


def test_total_is_the_sum():
    p = pt.Prediction(torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), dist.Normal(0.0, 1.0))
    assert torch.equal(p.total, torch.tensor([1.5, 2.0]))


def test_a_threshold_defers_what_is_above_it():
    deferred = prediction(torch.tensor([0.1, 0.5, 0.3, 0.30001])).defer(threshold=0.3)
    assert deferred.tolist() == [False, True, False, True]


@given(size=st.integers(1, 40), fraction=st.floats(0, 1))
def test_a_fraction_defers_the_most_uncertain(size, fraction):
    total = torch.rand(size)
    deferred = prediction(total).defer(fraction=fraction)
    assert deferred.dtype == torch.bool
    assert abs(int(deferred.sum()) - fraction * size) <= 0.5 + 1e-9
    if deferred.any() and not deferred.all():
        assert total[deferred].min() >= total[~deferred].max()


def test_examples_of_many_outputs_count_by_their_mean():
    total = torch.tensor([[0.0, 1.0], [0.4, 0.4], [0.9, 0.9]])[:, :, None].expand(3, 2, 5)
    p = prediction(total)
    assert p.defer(threshold=0.45).tolist() == [True, False, True]
    assert p.defer(fraction=1 / 3).tolist() == [False, False, True]


@pytest.mark.parametrize("arguments", [{}, {"threshold": 0.1, "fraction": 0.1}])
def test_exactly_one_way_to_say_it(arguments):
    with pytest.raises(ValueError, match="defer: give either threshold= or fraction="):
        prediction(torch.ones(2)).defer(**arguments)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_is_one(fraction):
    with pytest.raises(ValueError, match="defer: fraction must be between 0 and 1"):
        prediction(torch.ones(2)).defer(fraction=fraction)


def test_defer_by_one_kind_of_uncertainty():
    p = pt.Prediction(torch.zeros(3, 2), torch.tensor([0.1, 0.3, 0.2]), torch.tensor([0.9, 0.1, 0.1]), None)
    assert p.defer(fraction=1 / 3, by="epistemic").tolist() == [False, True, False]
    assert p.defer(threshold=0.5, by="aleatoric").tolist() == [True, False, False]
    with pytest.raises(ValueError, match="by must be 'total', 'epistemic' or 'aleatoric', got 'variance'"):
        p.defer(fraction=0.5, by="variance")


def test_repr_is_short():
    p = pt.Prediction(torch.zeros(3, 2), torch.zeros(3), torch.zeros(3), None)
    assert repr(p) == "Prediction(mean: [3, 2], epistemic: [3], aleatoric: [3])"
