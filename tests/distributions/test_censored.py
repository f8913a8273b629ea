"""Censored distributions against sums of their continuous and discrete parts."""

import math

import pytest
import torch
from scipy import integrate, stats

from posterity import kernels
from posterity.distributions import Cauchy, Censored, Exponential, Normal, Poisson, kl_divergence
from tests.distributions.checks import assert_relatively_close
from tests.statistical import assert_mean, assert_variance

LOC, SCALE, LOW, HIGH = 0.3, 1.5, -1.0, 2.0
EXACT = stats.norm(LOC, SCALE)


def censored():
    return Censored(Normal(torch.tensor(LOC, dtype=torch.float64), SCALE), LOW, HIGH)


def expected(function):
    """E[f(Y)]: the masses at the ends, and an integral between them."""
    inside, _ = integrate.quad(lambda x: function(x) * EXACT.pdf(x), LOW, HIGH, epsabs=1e-13)
    return function(LOW) * EXACT.cdf(LOW) + inside + function(HIGH) * EXACT.sf(HIGH)


def test_the_likelihood_is_that_of_censored_observations():
    y = torch.tensor([LOW, 0.0, 1.9, HIGH], dtype=torch.float64)
    exact = [EXACT.logcdf(LOW), EXACT.logpdf(0.0), EXACT.logpdf(1.9), EXACT.logsf(HIGH)]
    assert_relatively_close(censored().log_prob(y), exact, 1e-13)


def test_moments_and_entropy():
    d = censored()
    mean = expected(lambda y: y)
    assert float(d.mean) == pytest.approx(mean, rel=1e-9)
    assert float(d.variance) == pytest.approx(expected(lambda y: (y - mean) ** 2), rel=1e-9)
    log_density = [EXACT.logcdf(LOW), EXACT.logsf(HIGH)]
    inside, _ = integrate.quad(lambda x: -EXACT.pdf(x) * EXACT.logpdf(x), LOW, HIGH)
    entropy = inside - math.exp(log_density[0]) * log_density[0] - math.exp(log_density[1]) * log_density[1]
    assert float(d.entropy()) == pytest.approx(entropy, rel=1e-9)
    # The ends give even a Cauchy distribution a mean.
    assert float(Censored(Cauchy(0.0, 1.0), -2.0, 2.0).mean) == pytest.approx(0, abs=1e-5)


def test_tails_jump_at_the_ends():
    d, y = censored(), torch.tensor([-1.1, LOW, 0.0, HIGH, 2.1], dtype=torch.float64)
    torch.testing.assert_close(d.cdf(y), torch.tensor([0, EXACT.cdf(LOW), EXACT.cdf(0), 1, 1], dtype=torch.float64))
    torch.testing.assert_close(d.survival_function(y), 1 - d.cdf(y))
    assert float(d.log_cdf(y)[0]) == -math.inf
    assert float(d.log_survival_function(y)[3]) == -math.inf
    torch.testing.assert_close(
        d.icdf(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)), torch.tensor([LOW, LOC, HIGH], dtype=torch.float64)
    )


def test_draws_have_the_moments_and_the_ends_their_mass():
    d = censored()
    draws = d.sample((4000,), generator=kernels.Key(0))
    assert_mean(draws, d.mean)
    assert_variance(draws, d.variance)
    assert stats.binomtest(int((draws == LOW).sum()), 4000, EXACT.cdf(LOW)).pvalue > 1e-6
    high = torch.tensor(1.0, requires_grad=True)
    stuck = Censored(Normal(50.0, 1.0), high=high).rsample()
    assert float(torch.autograd.grad(stuck, high)[0]) == 1


def test_counts():
    d = Censored(Poisson(torch.tensor(3.0, dtype=torch.float64)), 1, 4)
    k = torch.arange(1.0, 5.0, dtype=torch.float64)
    exact = stats.poisson(3)
    masses = [exact.cdf(1), exact.pmf(2), exact.pmf(3), exact.sf(3)]
    assert_relatively_close(d.prob(k), masses, 1e-13)
    assert float(d.mean) == pytest.approx(sum(m * v for m, v in zip(masses, range(1, 5), strict=True)), rel=1e-12)
    assert float(d.mode) == 4
    assert float(d.entropy()) == pytest.approx(-sum(m * math.log(m) for m in masses), rel=1e-12)
    other = Censored(Poisson(torch.tensor(2.0, dtype=torch.float64)), 1, 4)
    expected_kl = (d.prob(k) * (d.log_prob(k) - other.log_prob(k))).sum()
    assert float(kl_divergence(d, other)) == pytest.approx(float(expected_kl), rel=1e-9)


def test_divergences():
    d = censored()
    other = Censored(Normal(torch.tensor(-0.5, dtype=torch.float64), 1.0), LOW, HIGH)
    q = stats.norm(-0.5, 1)
    inside, _ = integrate.quad(lambda x: EXACT.pdf(x) * (EXACT.logpdf(x) - q.logpdf(x)), LOW, HIGH)
    ends = EXACT.cdf(LOW) * (EXACT.logcdf(LOW) - q.logcdf(LOW)) + EXACT.sf(HIGH) * (EXACT.logsf(HIGH) - q.logsf(HIGH))
    assert float(kl_divergence(d, other)) == pytest.approx(inside + ends, rel=1e-9)
    for elsewhere in (Censored(d.base_dist, LOW, 3.0), Censored(d.base_dist, LOW), Normal(0.0, 1.0)):
        assert float(kl_divergence(d, elsewhere)) == math.inf


def test_gradients_batches_and_compiled_graphs():
    def log_prob(loc, scale, y):
        return Censored(Normal(loc, scale), high=torch.tensor([0.5, 2.0], dtype=torch.float64)).log_prob(y)

    loc, scale = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 1.2))
    y = torch.tensor([[-1.0, -1.0], [0.5, 0.7]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, s: log_prob(m, s, y), (loc, scale))
    torch.compiler.reset()
    compiled = torch.compile(log_prob, fullgraph=True, backend="aot_eager")(loc, scale, y)
    torch.testing.assert_close(compiled, log_prob(loc, scale, y))
    d = Censored(Exponential(torch.ones(3, 1)), high=torch.tensor([1.0, 2.0]))
    assert d.expand((4, 3, 2)).mean.shape == (4, 3, 2)
    torch.testing.assert_close(d.mean, (1 - torch.exp(-torch.tensor([1.0, 2.0]))).expand(3, 2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Censored(Normal(0.0, 1.0), 1.0, 1.0), ValueError, "low of Censored must be less than high"),
        (lambda: Censored(Poisson(1.0), 0.5), ValueError, "low of Censored must be a whole number"),
        (lambda: Censored(torch.zeros(2)), TypeError, "base_distribution of Censored"),
        (lambda: censored().log_prob(torch.tensor(3.0)), ValueError, "value of Censored must satisfy"),
        (lambda: censored().mode, NotImplementedError, "cannot be compared with the density"),
        (lambda: Censored.fit(torch.zeros(2)), NotImplementedError, "does not know the base's family"),
    ],
)
def test_what_is_undefined_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
