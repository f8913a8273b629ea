"""KL from draws: unbiased, with an honest standard error."""

import math

import pytest
import torch

from posterity import kernels
from posterity.distributions import Categorical, Exponential, Laplace, Normal, kl_monte_carlo
from tests.statistical import quantile


def test_the_estimate_lies_within_its_error_of_the_closed_form():
    p, q = Normal(torch.tensor([[0.0], [1.0]]), 1.0), Laplace(torch.tensor([0.5, 1.0, -2.0]), 2.0)
    for generator in (None, torch.Generator().manual_seed(0), kernels.Key(0)):
        value, error = kl_monte_carlo(p, q, 4000, generator)
        assert value.shape == error.shape == (2, 3)
        assert bool(((value - p.kl_divergence(q)).abs() <= quantile(6) * error).all())


def test_the_standard_error_is_the_spread_of_repeated_estimates():
    p, q = Normal(torch.zeros(2000), 1.0), Normal(1.0, 1.0)
    value, error = kl_monte_carlo(p, q, 50, torch.Generator().manual_seed(0))
    # log p - log q = 1/2 - x has variance 1: estimates from 50 draws have 1 / 50, known to a part in sqrt(1000).
    assert float(value.var()) * 50 == pytest.approx(1, abs=quantile() * math.sqrt(2 / 2000))
    assert float(error.square().mean()) * 50 == pytest.approx(1, abs=quantile() * math.sqrt(2 / (49 * 2000)))


def test_vectors_discrete_and_torchs_own_distributions():
    p = Normal(torch.zeros(3), 1.0).to_event()
    value, error = kl_monte_carlo(p, Normal(torch.ones(3), 1.0).to_event(), 2000)
    assert abs(float(value) - 1.5) <= quantile() * float(error)
    discrete, other = Categorical(torch.tensor([0.2, 0.8])), Categorical(torch.tensor([0.5, 0.5]))
    value, error = kl_monte_carlo(discrete, other, 2000)
    assert abs(float(value - discrete.kl_divergence(other))) <= quantile() * float(error)
    value, error = kl_monte_carlo(torch.distributions.Normal(0.0, 1.0), Normal(0.0, 1.0), 100)
    assert max(abs(float(value)), float(error)) < 1e-6  # the two compute one density in another order


def test_gradients_reach_both_sides():
    loc = torch.tensor(0.3, requires_grad=True)
    value, _ = kl_monte_carlo(Normal(loc, 1.0), Normal(0.0, 1.0), 20_000, torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad(value, loc)
    # x - 0 has variance 1 around its mean, 0.3.
    assert float(slope) == pytest.approx(0.3, abs=quantile() / math.sqrt(20_000))


def test_a_draw_outside_the_other_support_makes_it_infinite():
    value, error = kl_monte_carlo(Normal(0.0, 1.0), Exponential(1.0), 100)
    assert (float(value), float(error)) == (math.inf, math.inf)


def test_refusals():
    p = Normal(0.0, 1.0)
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        kl_monte_carlo(p, p, 1)
    with pytest.raises(ValueError, match=r"equal event shapes, but p has \(\) and q \(2,\)"):
        kl_monte_carlo(p, Normal(torch.zeros(2), 1.0).to_event(), 10)
    with pytest.raises(TypeError, match=r"torch.distributions.Normal takes no generator"):
        kl_monte_carlo(torch.distributions.Normal(0.0, 1.0), p, 10, torch.Generator())
