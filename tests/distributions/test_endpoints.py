"""Supports between ends that may be infinite, element by element, and the maps onto them."""

import pytest
import torch

from posterity.bijectors import bijector_to
from posterity.distributions import GeneralizedExtremeValue, GeneralizedPareto
from posterity.distributions.endpoints import between

INF = torch.inf
LOWER = torch.tensor([0.0, -INF, -1.0, -INF], dtype=torch.float64)
UPPER = torch.tensor([INF, 2.0, 3.0, INF], dtype=torch.float64)


def test_both_ends_belong_to_it():
    support = between(LOWER, UPPER)
    assert support.check(LOWER).tolist() == support.check(UPPER).tolist() == [True] * 4
    assert support.check(LOWER - 1).tolist() == [False, True, False, True]
    assert support.check(UPPER + 1).tolist() == [True, False, False, True]
    assert not bool(support.check(torch.tensor(torch.nan)).any())


@pytest.mark.parametrize("find", [bijector_to, torch.distributions.biject_to])
def test_the_map_onto_it_is_inverted_and_tells_its_slope(find):
    onto = find(between(LOWER, UPPER))
    x = torch.linspace(-4, 4, 7, dtype=torch.float64).unsqueeze(-1).expand(7, 4)
    y = onto(x)
    assert bool(onto.codomain.check(y).all())
    torch.testing.assert_close(onto.inv(y), x, rtol=1e-12, atol=1e-12)
    slope = torch.func.grad(lambda x: onto(x).sum())(x)
    torch.testing.assert_close(onto.log_abs_det_jacobian(x, y), slope.log(), rtol=1e-12, atol=1e-12)
    inverse_slope = torch.func.grad(lambda y: onto.inv(y).sum())(y)
    torch.testing.assert_close(inverse_slope.log(), -slope.log(), rtol=1e-12, atol=1e-12)


def test_no_image_rounds_to_an_end():
    onto = bijector_to(between(LOWER, UPPER))
    for x in (-600.0, 600.0):
        y = onto(torch.full((4,), x, dtype=torch.float64))
        assert bool((y > LOWER).all() & (y < UPPER).all())
        assert bool(onto.inv(y).isfinite().all())


@pytest.mark.parametrize("family", [GeneralizedExtremeValue, GeneralizedPareto])
def test_extreme_values_have_a_map_onto_their_support(family):
    d = family(0.5, 1.5, torch.tensor([-0.5, 0.0, 0.5]))
    y = bijector_to(d.support)(torch.linspace(-3, 3, 5).unsqueeze(-1).expand(5, 3))
    assert bool(d.log_prob(y).isfinite().all())
