"""What is particular about the truncated normal distribution: far tails, infinite bounds, and bounds in `fit`."""

import mpmath
import pytest
import torch
from torch.distributions import constraints

from posterity.distributions import Normal, TruncatedNormal, kl_divergence
from posterity.distributions.expectation import expectation


def moments(low):
    """Mean and variance of a standard normal above `low`, from its hazard rate in 60 digits."""
    with mpmath.workdps(60):
        hazard = mpmath.npdf(low) / mpmath.ncdf(-mpmath.mpf(low))
        return float(hazard), float(1 + low * hazard - hazard**2)


@pytest.mark.parametrize("low", [-30.0, 0.0, 5.0, 100.0, 1e4])
def test_moments_keep_their_digits_in_a_far_tail(low):
    d = TruncatedNormal(torch.tensor(0.0), 1.0, low, torch.inf)
    mean, variance = moments(low)
    # Mean and variance of float32 numbers: a few units of its rounding.
    torch.testing.assert_close(d.mean.double(), torch.tensor(mean).double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(d.variance.double(), torch.tensor(variance).double(), rtol=2e-6, atol=0)


@pytest.mark.parametrize("low", [-1.0, 50.0])
def test_draws_and_densities_are_finite_with_gradients_in_a_far_tail(low):
    parameters = [torch.tensor(v, requires_grad=True) for v in (0.0, 1.0, low)]
    d = TruncatedNormal(*parameters, torch.tensor(torch.inf))
    draws = d.rsample((100,))
    assert bool((draws >= low).all() & draws.isfinite().all())
    total = draws.sum() + d.log_prob(draws.detach()).sum() + d.log_cdf(draws.detach()).sum() + d.mean + d.entropy()
    assert all(bool(g.isfinite()) for g in torch.autograd.grad(total, parameters))


def test_the_support_of_bounds_given_as_numbers_is_their_half_line():
    assert TruncatedNormal(0.0, 1.0, -torch.inf, torch.inf).support is constraints.real
    assert isinstance(TruncatedNormal(0.0, 1.0, 0.0, torch.inf).support, constraints.greater_than_eq)
    assert isinstance(TruncatedNormal(0.0, 1.0, 0.0, 1.0).support, constraints.interval)


def test_without_bounds_it_is_the_normal_distribution():
    d, x = TruncatedNormal(0.5, 2.0, -torch.inf, torch.inf), torch.linspace(-9, 9, 7)
    normal = Normal(0.5, 2.0)
    torch.testing.assert_close(d.log_prob(x), normal.log_prob(x))
    torch.testing.assert_close(d.log_cdf(x), normal.log_cdf(x))
    torch.testing.assert_close(d.variance, normal.variance)


def test_divergences_are_integrals_and_infinite_where_the_bounds_are_wider():
    p = TruncatedNormal(torch.tensor(0.5).double(), 1.0, 0.0, 2.0)
    for q in (
        TruncatedNormal(torch.tensor(1.0).double(), 3.0, -1.0, torch.inf),
        Normal(torch.tensor(1.0).double(), 3.0),
    ):
        integral = expectation(p, lambda x, q=q: p.log_prob(x) - q.log_prob(x), others=(q,))
        torch.testing.assert_close(kl_divergence(p, q), integral, rtol=1e-9, atol=1e-9)
    assert kl_divergence(TruncatedNormal(0.0, 1.0, 0.0, torch.inf), TruncatedNormal(0.0, 1.0, 0.0, 1.0)) == torch.inf


def test_crossed_bounds_are_refused():
    with pytest.raises(ValueError, match="high of TruncatedNormal must satisfy GreaterThan"):
        TruncatedNormal(0.0, 1.0, 2.0, 1.0)


def test_unknown_bounds_are_the_outermost_draws():
    data = TruncatedNormal(0.5, 0.5, -1.0, 2.0).sample((400,), generator=torch.Generator().manual_seed(0))
    fitted = TruncatedNormal.fit(data)
    assert (fitted.low, fitted.high) == (data.min(), data.max())
    known = TruncatedNormal.fit(data, low=fitted.low, high=fitted.high)
    torch.testing.assert_close(fitted.loc, known.loc)


def test_data_wider_than_uniform_ones_give_a_flat_density():
    fitted = TruncatedNormal.fit(torch.tensor([0.0, 0.1, 0.9, 1.0]).double(), low=0.0, high=1.0)
    assert float(fitted.prob(torch.linspace(0, 1, 5)).sub(1).abs().max()) < 1e-3


def test_data_outside_of_the_bounds_are_refused():
    with pytest.raises(ValueError, match="data of TruncatedNormal must satisfy Interval"):
        TruncatedNormal.fit(torch.tensor([0.5, 1.5]), low=0.0, high=1.0)
