"""Quantiles of counts are the least integers whose cdf reaches the level, whatever the guess was."""

import pytest
import torch
from scipy import stats

from posterity.distributions import Binomial, Poisson, count_quantiles
from posterity.distributions.count_quantiles import count_quantile

LEVELS = torch.tensor([1e-25, 1e-12, 1e-6, 0.01, 0.2, 0.4999, 0.5, 0.51, 0.9, 0.999, 1 - 1e-10], dtype=torch.float64)
LAWS = {
    "rare": Poisson(torch.tensor(0.003, dtype=torch.float64)),
    "few": Poisson(torch.tensor(4.0, dtype=torch.float64)),
    "many": Poisson(torch.tensor(3e5, dtype=torch.float64)),
    "binomial": Binomial(torch.tensor(60.0, dtype=torch.float64), 0.7),
    "skewed": Binomial(torch.tensor(5000.0, dtype=torch.float64), 2e-3),
    "logits": Binomial(torch.tensor(100_000.0, dtype=torch.float64), logits=4.0),
    "none": Binomial(torch.tensor(0.0, dtype=torch.float64), 0.3),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_least_count_that_reaches_the_level(name):
    d = LAWS[name]
    k = d.icdf(LEVELS)
    # In each half the tail that has the digits decides; by 2^-42 of itself a level may be missed.
    low = LEVELS < 0.5
    reached = torch.where(low, d.cdf(k) >= LEVELS * (1 - 1e-12), d.survival_function(k) <= (1 - LEVELS) * (1 + 1e-12))
    before = torch.where(low, d.cdf(k - 1) < LEVELS, d.survival_function(k - 1) > 1 - LEVELS)
    assert bool(reached.all())
    assert bool((before | (k == 0)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantiles_of_a_batch_are_those_of_scipy(dtype):
    generator = torch.Generator().manual_seed(0)
    rate = (0.1 + 50 * torch.rand(2000, generator=generator)).to(dtype)
    n, p = (2 * rate).ceil(), torch.rand(2000, generator=generator).to(dtype)
    level = torch.rand(3, 2000, generator=generator).to(dtype)
    wide = [t.double().numpy() for t in (level, rate, n, p)]
    torch.testing.assert_close(
        Poisson(rate).icdf(level).double(), torch.tensor(stats.poisson(wide[1]).ppf(wide[0])), rtol=0, atol=0
    )
    torch.testing.assert_close(
        Binomial(n, p).icdf(level).double(), torch.tensor(stats.binom(wide[2], wide[3]).ppf(wide[0])), rtol=0, atol=0
    )


def test_a_count_is_the_quantile_of_its_own_cdf():
    k = torch.arange(0.0, 40.0, dtype=torch.float64)
    for d in (Poisson(torch.tensor(20.0, dtype=torch.float64)), Binomial(torch.tensor(50.0, dtype=torch.float64), 0.4)):
        below = d.cdf(k) < 0.5
        assert torch.equal(d.icdf(d.cdf(k))[below], k[below])


def test_the_ends_and_what_is_no_level():
    level = torch.tensor([0.0, 1.0, float("nan")])
    poisson, binomial = Poisson(3.0, validate_args=False), Binomial(7.0, 0.5, validate_args=False)
    torch.testing.assert_close(poisson.icdf(level), torch.tensor([0.0, torch.inf, torch.nan]), equal_nan=True)
    torch.testing.assert_close(binomial.icdf(level), torch.tensor([0.0, 7.0, torch.nan]), equal_nan=True)


@pytest.mark.parametrize("wrong", [-1000.0, 1000.0, float("nan")])
def test_a_bad_guess_costs_time_only(wrong):
    d = LAWS["few"]
    nowhere = torch.tensor(wrong, dtype=torch.float64)
    found = count_quantile(d, LEVELS, nowhere, nowhere, lambda d, k: d.prob(k))
    assert torch.equal(found, d.icdf(LEVELS))


def test_one_full_tail_serves_most_levels(monkeypatch):
    asked = []

    def counted(d, index, taken=count_quantiles._taken):
        asked.append(len(index))
        return taken(d, index)

    monkeypatch.setattr(count_quantiles, "_taken", counted)
    level = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    Poisson(torch.full((10_000,), 30.0)).icdf(level)
    # Parts of the batch: each element once for its tail, and about once for a mass.
    assert sum(asked) < 3.5 * 10_000
