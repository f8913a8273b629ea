"""What is particular about the continuous Bernoulli distribution: smoothness where it is uniform, and its fit."""

import pytest
import torch

from posterity.distributions import Beta, ContinuousBernoulli, Mixture, Uniform, kl_divergence

X = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("statistic", ["log_prob", "log_cdf", "log_survival_function", "cdf", "entropy", "icdf"])
def test_slopes_at_the_uniform_distribution_are_those_on_both_sides(statistic):
    def ask(logits):
        found = getattr(ContinuousBernoulli(logits=logits), statistic)
        return found() if statistic == "entropy" else found(X)

    logits = torch.zeros((), dtype=torch.float64)
    h = 1e-5
    slope = (ask(logits + h) - ask(logits - h)) / (2 * h)
    # The error of a central difference is h^2 in the slope and eps / h from rounding.
    torch.testing.assert_close(torch.func.jacrev(ask)(logits), slope, rtol=1e-8, atol=1e-9)


def test_moments_have_slopes_for_all_but_certain_ends():
    logits = torch.tensor([-1e4, -800.0, 0.0, 800.0, 1e4], dtype=torch.float64)
    slope = torch.func.grad(lambda t: ContinuousBernoulli(logits=t).mean.sum())(logits)
    torch.testing.assert_close(slope, ContinuousBernoulli(logits=logits).variance, rtol=1e-10, atol=0)


@pytest.mark.parametrize("mean", [1e-8, 0.01, 0.3, 0.5 - 1e-9, 0.5, 0.77, 0.9999])
def test_the_fitted_mean_is_that_of_the_data(mean):
    data = torch.tensor([0.5 * mean, 0.75 * mean, 1.0, 1.0], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    fitted = ContinuousBernoulli.fit(data, weights)
    expected = (weights * data).sum()
    torch.testing.assert_close(fitted.mean, expected, rtol=1e-13, atol=0)
    mirrored = ContinuousBernoulli.fit(1 - data, weights)
    torch.testing.assert_close(1 - mirrored.mean, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("p", [Beta(1.5, 2.0), Uniform(0.25, 0.5)], ids=["Beta", "Uniform"])
def test_kl_from_another_is_the_integral_of_its_definition(p):
    q = ContinuousBernoulli(logits=torch.tensor([-2.0, 0.0, 1e-3]))
    # A mixture of one component has no closed form; integrals in float32 are right to 1e-5.
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(Mixture([p]), q), rtol=2e-5, atol=2e-5)


def test_kl_from_a_wider_uniform_distribution_is_infinite():
    assert kl_divergence(Uniform(0.0, 2.0), ContinuousBernoulli(0.3)).isinf()
