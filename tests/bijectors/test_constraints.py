"""Supports that torch lacks, and which supports lie within which."""

import math

import pytest
import torch

from posterity.bijectors import constraints
from posterity.bijectors.inclusion import is_within


def _holds(constraint, *rows):
    return constraint.check(torch.tensor(rows)).tolist()


def test_ordered_vectors_increase_strictly():
    rows = [[1.0, 2.0, 3.0], [1.0, 1.0, 3.0], [3.0, 2.0, 5.0], [math.nan, 2.0, 3.0], [-1.0, 0.0, 1.0]]
    assert _holds(constraints.ordered, *rows) == [True, False, False, False, True]
    assert _holds(constraints.positive_ordered, *rows) == [True, False, False, False, False]
    assert _holds(constraints.ordered, [1.0], [math.nan]) == [True, False]


def test_the_sphere_has_unit_length():
    assert _holds(constraints.sphere, [0.6, 0.8], [0.6, 0.7], [-1.0, 0.0], [math.nan, 0.0]) == [
        True,
        False,
        True,
        False,
    ]


real, positive, unit = constraints.real, constraints.positive, constraints.unit_interval


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (real, real, True),
        (real, positive, False),
        (constraints.nonnegative, positive, True),
        (positive, unit, False),
        (constraints.interval(2.0, 3.0), constraints.greater_than(1.0), True),
        (constraints.interval(torch.tensor([2.0, 0.0]), 3.0), constraints.greater_than(1.0), False),
        (constraints.less_than(0.0), positive, False),
        (constraints.simplex, constraints.independent(unit, 1), True),
        (constraints.sphere, constraints.independent(unit, 1), False),
        (constraints.positive_ordered, positive, True),
        (constraints.ordered, positive, False),
        (constraints.positive_ordered, constraints.ordered, True),
        (constraints.real_vector, constraints.simplex, False),
        (constraints.corr_cholesky, constraints.lower_cholesky, True),
        (constraints.lower_cholesky, constraints.corr_cholesky, False),
        (constraints.positive_definite, constraints.symmetric, True),
        (torch.distributions.constraints.boolean, real, False),
        (constraints.MixtureSameFamilyConstraint(positive), positive, True),
        (constraints.stack([real, positive]), constraints.stack([real, positive]), True),
    ],
    ids=repr,
)
def test_inclusion(inner, outer, expected):
    assert is_within(inner, outer) is expected


def test_bounds_that_cannot_be_read_are_taken_to_fit(no_validation):
    assert is_within(constraints.interval(torch.tensor(0.0), 3.0), constraints.greater_than(1.0))
