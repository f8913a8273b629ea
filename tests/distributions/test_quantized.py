"""Quantized distributions against differences of the exact cdf."""

import math

import mpmath
import pytest
import torch
from scipy import stats

from posterity import kernels
from posterity.distributions import Exponential, Gumbel, Normal, Poisson, Quantized
from tests.distributions.checks import assert_relatively_close

STANDARD = Normal(torch.zeros((), dtype=torch.float64), 1.0)


def test_masses_are_accurate_in_both_tails():
    k = torch.tensor([-30.0, -9.0, 0.0, 1.0, 9.0, 31.0], dtype=torch.float64)
    with mpmath.workdps(400):
        exact = [float(mpmath.log(mpmath.ncdf(int(v)) - mpmath.ncdf(int(v) - 1))) for v in k.tolist()]
    assert_relatively_close(Quantized(STANDARD).log_prob(k), exact, 1e-13)


def test_what_lies_beyond_is_counted_at_the_ends():
    d, k = Quantized(STANDARD, -1, 2), torch.arange(-1.0, 3.0, dtype=torch.float64)
    exact = stats.norm.cdf([-1, 0, 1, math.inf]) - stats.norm.cdf([-math.inf, -1, 0, 1])
    assert_relatively_close(d.prob(k), exact, 1e-13)
    torch.testing.assert_close(d.cdf(k), d.prob(k).cumsum(0))
    torch.testing.assert_close(d.survival_function(k), 1 - d.cdf(k), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(d.log_cdf(k).exp(), d.cdf(k))
    torch.testing.assert_close(d.log_survival_function(k).exp(), d.survival_function(k))
    assert float(d.cdf(torch.tensor(-1.5))) == 0
    assert float(d.mean) == pytest.approx(float((d.prob(k) * k).sum()), rel=1e-12)
    assert float(d.entropy()) == pytest.approx(float(-(d.prob(k) * d.log_prob(k)).sum()), rel=1e-12)
    assert [float(d.icdf(p)) for p in (0.0, 0.2, 0.5, 1.0)] == [-1, 0, 0, 2]
    draws = d.sample((4000,), generator=kernels.Key(0))
    counts = torch.bincount(draws.long() + 1, minlength=4).numpy()
    assert stats.chisquare(counts, exact * 4000).pvalue > 1e-6


def test_the_ceiling_of_an_exponential_is_geometric():
    d = Quantized(Exponential(torch.tensor([0.5, 2.0], dtype=torch.float64)))
    success = -torch.expm1(-torch.tensor([0.5, 2.0], dtype=torch.float64))
    torch.testing.assert_close(d.mean, 1 / success)
    torch.testing.assert_close(d.variance, (1 - success) / success**2)
    assert d.mode.tolist() == [1, 1]
    assert float(d.support.lower_bound[0]) == 1
    assert d.expand((3, 2)).sample((4,)).shape == (4, 3, 2)
    with pytest.raises(ValueError, match="value of Quantized must satisfy IntegerInterval"):
        d.log_prob(torch.tensor(0.0))


def test_gradients_and_compiled_graphs():
    k = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)

    def log_prob(loc, scale):
        return Quantized(Gumbel(loc, scale), -2, 3).log_prob(k)

    given = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 1.2))
    assert torch.autograd.gradcheck(log_prob, given)
    torch.compiler.reset()
    compiled = torch.compile(log_prob, fullgraph=True, backend="aot_eager")(*given)
    torch.testing.assert_close(compiled, log_prob(*given))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Quantized(Poisson(1.0)), ValueError, "base_distribution of Quantized must be continuous"),
        (lambda: Quantized(STANDARD, low=0.5), ValueError, "low of Quantized must be a whole number"),
        (lambda: Quantized(STANDARD, 3, 2), ValueError, "low of Quantized must not be above high"),
        (lambda: Quantized.fit(torch.zeros(2)), NotImplementedError, "does not know the base's family"),
        (lambda: Quantized(STANDARD).rsample(), NotImplementedError, "no reparameterised draws"),
    ],
)
def test_what_cannot_be_quantized_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
