"""Calls of one kind have one key; what may take another course has another."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from posterity.infer.arguments import kind_of, values_of


@dataclass
class Batch:
    x: torch.Tensor


BATCH = Batch(torch.zeros(3))


@pytest.mark.parametrize(
    "one",
    [1, 1.5, "a", None, True, torch.float64, torch.device("cpu"), range(3), BATCH, {"a": [1, (2,)]}, torch.zeros(3)],
)
def test_a_call_is_like_itself(one):
    assert kind_of((one,), {"k": one}) == kind_of((one,), {"k": one})
    assert hash(values_of((one,), {})) == hash(values_of((one,), {}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        ("a", "b"),
        (None, 0),
        (Batch(BATCH.x), Batch(BATCH.x)),  # its tensors are not seen
        (torch.zeros(3), torch.zeros(4)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.float64)),
        (np.zeros(3), np.zeros(4)),
        ({"a": 1}, {"b": 1}),
        ([1], (1,)),
    ],
)
def test_calls_that_may_take_another_course(one, other):
    assert kind_of((one,), {}) != kind_of((other,), {})
    assert values_of((one,), {}) != values_of((other,), {})


def test_the_values_of_tensors_are_no_part_of_it():
    assert values_of((torch.zeros(3),), {}) == values_of((torch.ones(3),), {})


def test_the_contents_of_arrays_are_part_of_what_a_graph_keeps():
    one, other = np.zeros(2000), np.zeros(2000)
    other[1000] = 1.0  # the text of both is the same
    assert kind_of((one,), {}) == kind_of((other,), {})
    assert values_of((one,), {}) != values_of((other,), {})
    assert values_of((one,), {}) == values_of((one.copy(),), {})
