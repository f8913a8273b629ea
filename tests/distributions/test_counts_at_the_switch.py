"""The plain formula for moderate counts and the saddle-point form beyond: one density on both sides of the switch."""

import pytest
import torch
from scipy import stats

from posterity.distributions import Bernoulli, Binomial, NegativeBinomial, Poisson

# The largest counts of the plain formula, by dtype.
SWITCH = {torch.float32: 2**20, torch.float64: 64}


@pytest.mark.parametrize("dtype", SWITCH)
@pytest.mark.parametrize("beside", [-1, 0, 1, 2])
def test_the_density_agrees_with_scipy(dtype, beside):
    count = SWITCH[dtype] + beside
    eps = torch.finfo(dtype).eps
    size = torch.tensor(float(count), dtype=dtype)
    cases = [
        (Poisson, {"rate": 0.9 * count}, size, lambda rate: stats.poisson(rate)),
        (Binomial, {"total_count": count, "probs": 0.3}, (0.3 * size).round(), lambda n, p: stats.binom(n, p)),
        (
            NegativeBinomial,
            {"total_count": 0.5 * count, "probs": 0.6},
            size,
            lambda n, p: stats.nbinom(n, 1 - p),
        ),
    ]
    for family, setting, value, reference in cases:
        parameters = {name: torch.tensor(v, dtype=dtype) for name, v in setting.items()}
        exact = reference(*(p.double().item() for p in parameters.values())).logpmf(value.double().item())
        condition = 1 + abs(exact) + count**0.5  # of the value to a rounding of the parameter
        assert float(family(**parameters).log_prob(value)) == pytest.approx(
            exact, abs=16 * eps * condition + 1e-12 * count
        )


@pytest.mark.parametrize("probs", [2.9e-4, 3.1e-4, 1 - 3.1e-4, 1 - 2.9e-4])
def test_bernoulli_draws_on_both_sides_of_the_switch(probs):
    draws = Bernoulli(probs=torch.tensor(probs)).sample((400_000,), generator=torch.Generator().manual_seed(0))
    assert stats.binomtest(int(draws.sum()), draws.numel(), probs).pvalue > 1e-6
