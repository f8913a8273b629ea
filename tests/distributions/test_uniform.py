"""What is particular about the uniform distribution: divergences from and to it, and the data that fix it."""

import pytest
import torch

from posterity.distributions import Cauchy, Exponential, Gumbel, Laplace, Normal, Uniform, kl_divergence
from posterity.distributions.expectation import expectation

FORMULAS = [
    Normal(0.5, 2.0),
    Laplace(0.5, 2.0),
    Laplace(-4.0, 0.5),
    Laplace(5.0, 0.5),
    Exponential(0.75),
    Gumbel(0.5, 1.5),
    Uniform(-1.0, 3.5),
]


@pytest.mark.parametrize("q", FORMULAS, ids=lambda q: repr(q))
def test_the_divergence_from_a_uniform_is_its_integral(q):
    p, q = Uniform(torch.tensor(0.25).double(), 2.0), type(q)(*(getattr(q, n).double() for n in q.arg_constraints))
    integral = expectation(p, lambda x: p.log_prob(x) - q.log_prob(x), others=(q,))
    torch.testing.assert_close(kl_divergence(p, q), integral, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "p", [Normal(0.0, 1.0), Laplace(0.0, 1.0), Exponential(1.0), Gumbel(0.0, 1.0), Cauchy(0.0, 1.0)], ids=repr
)
def test_what_reaches_beyond_a_uniform_is_infinitely_far_from_it(p):
    assert torch.equal(kl_divergence(p, Uniform(-torch.ones(2), 9.0)), torch.full((2,), torch.inf))


def test_a_uniform_that_reaches_beyond_is_infinitely_far():
    assert kl_divergence(Uniform(-1.0, 1.0), Exponential(1.0)) == torch.inf
    assert kl_divergence(Uniform(0.0, 2.0), Uniform(0.0, 1.0)) == torch.inf


def test_draws_stay_inside_where_the_interval_holds_few_numbers():
    d = Uniform(1.0, 1.0 + 3e-7)
    draws = d.sample((1000,))
    assert bool(((draws >= d.low) & (draws <= d.high)).all())
    assert len(draws.unique()) > 2


def test_crossed_ends_are_refused():
    with pytest.raises(ValueError, match="high of Uniform must satisfy GreaterThan"):
        Uniform(1.0, 1.0)


def test_equal_draws_have_no_best_interval():
    with pytest.raises(ValueError, match=r"data of Uniform.fit must hold two different draws"):
        Uniform.fit(torch.ones(3))


def test_draws_without_weight_do_not_count():
    fitted = Uniform.fit(torch.tensor([1.0, 2.0, 9.0]), weights=torch.tensor([1.0, 1.0, 0.0]))
    assert (fitted.low, fitted.high) == (1, 2)
