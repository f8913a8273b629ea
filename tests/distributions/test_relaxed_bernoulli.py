"""The relaxed Bernoulli distribution at the ends of its support, and its divergence."""

import pytest
import torch

from posterity.distributions import RelaxedBernoulli, kl_divergence, kl_monte_carlo


@pytest.mark.parametrize("statistic", ["cdf", "survival_function"])
def test_tails_have_no_slope_in_the_parameters_at_an_end(statistic):
    temperature, logits = (torch.tensor(v, requires_grad=True) for v in (0.7, 0.3))
    d = RelaxedBernoulli(temperature, logits=logits)
    tails = getattr(d, statistic)(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    assert set(tails.tolist()) == {0.0, 1.0}
    assert [float(g) for g in torch.autograd.grad(tails.sum(), (temperature, logits))] == [0.0, 0.0]


def test_the_kl_is_the_mean_log_ratio():
    p = RelaxedBernoulli(torch.tensor(0.5, dtype=torch.float64), logits=1.0)
    q = RelaxedBernoulli(torch.tensor(0.9, dtype=torch.float64), logits=-0.5)
    value, error = kl_monte_carlo(p, q, 20_000, torch.Generator().manual_seed(0))
    # Five standard errors: a false alarm in about two million.
    assert abs(float(kl_divergence(p, q) - value)) < 5 * float(error)
    assert float(kl_divergence(p, p)) == 0
