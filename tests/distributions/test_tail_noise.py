"""Draws of heavy tails come from levels that both ends resolve."""

import pytest
import torch
from scipy import stats

from posterity.distributions import Cauchy, LogitNormal, LogNormal, Normal
from posterity.distributions.tail_noise import cauchy_noise, exponential_noise, log_levels, logistic_noise, tail_noise
from tests.statistical import FALSE_ALARM


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_noise_is_symmetric_open_and_uniform(dtype):
    noise = tail_noise(Normal(torch.zeros((), dtype=dtype), 1.0), (50_000,), torch.Generator().manual_seed(1))
    assert noise.dtype == dtype
    assert bool(((noise.abs() < 1) & (noise != 0)).all())
    assert stats.kstest(noise.double().numpy(), stats.uniform(-1, 2).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("size", [50, 5_000], ids=["few", "many"])
@pytest.mark.parametrize(
    ("draw", "law"), [(cauchy_noise, stats.cauchy), (exponential_noise, stats.expon)], ids=["Cauchy", "exponential"]
)
def test_few_and_many_draws_follow_one_law(draw, law, size):
    d, generator = Normal(torch.zeros(size), 1.0), torch.Generator().manual_seed(2)
    noise = torch.stack([draw(d, (), generator) for _ in range(10_000 // size)])
    assert bool((noise.isfinite() & (noise != 0)).all())
    assert stats.kstest(noise.flatten().double().numpy(), law.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_logistic_noise_follows_its_law(dtype):
    noise = logistic_noise(Normal(torch.zeros((), dtype=dtype), 1.0), (50_000,), torch.Generator().manual_seed(2))
    assert noise.dtype == dtype
    assert stats.kstest(noise.double().numpy(), stats.logistic.cdf).pvalue > FALSE_ALARM
