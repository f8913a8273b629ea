"""Draws of heavy tails come from levels that both ends resolve."""

import torch

from posterity.distributions import Cauchy, LogitNormal, LogNormal, Normal
from posterity.distributions.tail_noise import log_levels, tail_noise


def test_levels_and_their_complements_sum_to_one():
    below, above = log_levels(Normal(torch.zeros(3), 1.0), (1000,), torch.Generator().manual_seed(0))
    assert below.shape == (1000, 3)
    torch.testing.assert_close(below.exp() + above.exp(), torch.ones(1000, 3), rtol=1e-6, atol=0)


def test_levels_are_finer_than_the_steps_of_uniform_numbers():
    # Uniform numbers in float32 are multiples of 2^-24: these are not, where they are small.
    noise = tail_noise(Normal(0.0, 1.0), (100_000,), torch.Generator().manual_seed(0)).abs()
    small = noise[noise < 1e-3] * 2.0**24
    assert len(small) > 20
    assert bool((small != small.round()).any())


def test_extreme_draws_stay_finite_and_inside_the_support():
    assert bool(Cauchy(0.0, 1e30).sample((10_000,)).isfinite().all())
    positive = LogNormal(0.0, 200.0).sample((10_000,))
    assert bool((positive.isfinite() & (positive > 0)).all())
    inside = LogitNormal(0.0, 200.0).sample((10_000,))
    assert bool(((inside > 0) & (inside < 1)).all())
