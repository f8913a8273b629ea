"""Which values may be read, and what is asked of them."""

import pytest
import torch

from posterity.kernels.reading import all_finite, lies_within, may_hold_nan, readable, records_gradient


def test_tensors_of_one_precision_are_readable_in_eager_code():
    assert readable(torch.ones(3), torch.ones(()))


@pytest.mark.parametrize(
    "tensors",
    [
        (torch.ones(2), torch.ones(2, dtype=torch.float64)),
        (torch.ones(2, dtype=torch.float16),),
        (torch.ones(2, dtype=torch.int64),),
        (torch.ones(0),),
        (torch.ones(2, device="meta"),),
        (1.0, torch.ones(2)),
    ],
    ids=["mixed", "half", "integer", "empty", "meta", "number"],
)
def test_others_are_not_readable(tensors):
    assert not readable(*tensors)


def test_nothing_is_readable_under_a_transformation():
    seen = []
    torch.vmap(lambda x: seen.append(readable(torch.ones(2))) or x)(torch.ones(3))
    assert seen == [False]


def test_gradients_are_recorded_in_either_mode():
    x = torch.ones(2, requires_grad=True)
    assert records_gradient(torch.ones(2), x)
    with torch.no_grad():
        assert not records_gradient(x)
    with torch.autograd.forward_ad.dual_level():
        assert records_gradient(torch.ones(2))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_bounds_are_open_below_and_closed_above(shape):
    assert lies_within(torch.full(shape, 1.0), 0.0, 1.0)
    assert not lies_within(torch.full(shape, 0.0), 0.0, 1.0)
    assert not lies_within(torch.full(shape, 1.5), 0.0, 1.0)
    assert not lies_within(torch.full(shape, torch.nan), 0.0, 1.0)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_all_are_finite_where_none_is_infinite_or_nan(shape):
    assert all_finite(torch.full(shape, -1.0, requires_grad=True))
    for value in (torch.inf, -torch.inf, torch.nan):
        assert not all_finite(torch.full(shape, value))
    assert not all_finite(torch.tensor([torch.inf, -torch.inf, 1.0]))


def test_a_nan_is_seen_among_numbers_and_infinities():
    assert may_hold_nan(torch.tensor([1.0, torch.nan]))
    assert may_hold_nan(torch.tensor(torch.nan, requires_grad=True))
    assert not may_hold_nan(torch.tensor([1.0, torch.inf]))
    # Infinities of both signs are not told from a NaN.
    assert may_hold_nan(torch.tensor([-torch.inf, torch.inf]))
