"""Resampling schemes are unbiased; what differs is the variance of the numbers of copies."""

from functools import cache

import pytest
import torch

from posterity.infer.resampling import RESAMPLING
from posterity.kernels import Key
from tests.statistical import assert_mean, assert_normal_variance

LOG_WEIGHTS = torch.tensor([0.05, 0.3, 0.0, 0.111, 0.239, 0.3], dtype=torch.float64).log()
WEIGHTS = LOG_WEIGHTS.exp()
NUM, REPEATS = 10, 2000


@cache
def copies(name):
    """How many copies each particle has, in many repetitions, `[REPEATS, num_particles]`."""
    source = torch.Generator().manual_seed(0)
    chosen = [RESAMPLING[name](LOG_WEIGHTS + 3.0, NUM, source) for _ in range(REPEATS)]
    return torch.stack([torch.bincount(c, minlength=len(WEIGHTS)) for c in chosen]).double()


@pytest.mark.parametrize("name", RESAMPLING)
def test_the_mean_number_of_copies_is_the_weight(name):
    found = copies(name)
    assert (found.sum(1) == NUM).all()
    assert (found[:, 2] == 0).all()
    assert_mean(found, NUM * WEIGHTS)


def test_the_numbers_of_copies_are_as_even_as_the_schemes_say():
    found = {name: copies(name) for name in RESAMPLING}
    wanted = NUM * WEIGHTS
    assert ((found["systematic"] - wanted).abs() < 1).all()
    assert ((found["stratified"] - wanted).abs() < 2).all()
    assert (found["residual"] >= wanted.floor()).all()
    # Binomial counts, whose variance is known.
    assert_mean((found["multinomial"] - wanted).square(), wanted * (1 - WEIGHTS))
    # The multinomial sum over what residuals leave: its variance is that of as many draws of their shares.
    rest = wanted - wanted.floor()
    number = rest.sum()
    assert_mean((found["residual"] - wanted).square(), rest * (1 - rest / number))


def test_no_scheme_has_a_greater_variance_than_independent_draws():
    values = torch.tensor([1.0, -2.0, 5.0, 0.5, 3.0, -1.0], dtype=torch.float64)
    sums = {name: copies(name) @ values for name in RESAMPLING}
    exact = NUM * ((WEIGHTS * values.square()).sum() - (WEIGHTS @ values) ** 2)
    assert_normal_variance(sums["multinomial"], exact)
    for name in ("stratified", "residual"):
        assert sums[name].var() < sums["multinomial"].var()


@pytest.mark.parametrize("name", RESAMPLING)
def test_equal_weights_and_single_particles(name):
    resample = RESAMPLING[name]
    if name != "multinomial":
        assert resample(torch.zeros(7), 7, Key(1)).tolist() == list(range(7))
    single = torch.full((5,), -torch.inf)
    single[3] = -700.0
    assert resample(single, 4, Key(1)).tolist() == [3] * 4
    assert resample(torch.zeros(1000), 3, torch.Generator().manual_seed(0)).max() < 1000
