"""Quick checks of values: one reduction sees what the constraint's own comparisons see."""

import pytest
import torch

from posterity.distributions import Bernoulli, Geometric, Uniform

NUMBERS = [0.0, 1.0, 0.5, 2.0, -1.0, 1e-30, -1e-30, 1 - 2.0**-24, torch.inf, -torch.inf, torch.nan]


# One number, some, and more than one block.
@pytest.mark.parametrize("size", [1, 3, 200_000])
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("family", [Bernoulli, Geometric])
def test_counts_are_told_from_other_numbers(family, number, size):
    value = torch.ones(size)
    value[-1] = number
    d = family(probs=torch.full((), 0.5))
    if bool(d.support.check(value[-1])):
        d.log_prob(value)
        return
    with pytest.raises(ValueError, match=rf"value of {family.__name__} must satisfy"):
        d.log_prob(value)


@pytest.mark.parametrize("high", [[2.0], [2.0, 0.5]])
def test_bounds_that_are_tensors_are_compared_element_by_element(high):
    d = Uniform(torch.zeros(len(high)), torch.tensor(high))
    d.log_prob(torch.tensor([0.4]))
    with pytest.raises(ValueError, match="value of Uniform must satisfy"):
        d.log_prob(torch.tensor([2.5]))
