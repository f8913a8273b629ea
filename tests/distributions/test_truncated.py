"""Truncated distributions against scipy's truncated normal and sums over conditioned masses."""

import math

import pytest
import torch
from scipy import integrate, stats

from posterity import kernels
from posterity.distributions import (
    Categorical,
    Exponential,
    Gamma,
    Gumbel,
    Normal,
    Truncated,
    Uniform,
    kl_divergence,
)
from tests.distributions.checks import assert_follows, assert_global_stream_untouched, assert_relatively_close

STANDARD = Normal(torch.zeros((), dtype=torch.float64), 1.0)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (2.0, 3.0), (-9.0, -8.0), (-math.inf, -3.0), (1.0, math.inf)])
def test_statistics_of_a_truncated_normal(low, high):
    d, exact = Truncated(STANDARD, low, high), stats.truncnorm(low, high)
    x = torch.tensor(exact.ppf([0.01, 0.3, 0.8, 0.99]))
    for ours, theirs in (("log_prob", "logpdf"), ("log_cdf", "logcdf"), ("log_survival_function", "logsf")):
        # Differences of logarithms of size 40 keep 1e-14 of those.
        torch.testing.assert_close(
            getattr(d, ours)(x), torch.tensor(getattr(exact, theirs)(x.numpy())), rtol=1e-11, atol=4e-14 * 40
        )
    torch.testing.assert_close(d.cdf(x), torch.tensor(exact.cdf(x.numpy())), rtol=1e-11, atol=0)
    assert_relatively_close(d.icdf(torch.tensor([0.001, 0.5, 0.9])), exact.ppf([0.001, 0.5, 0.9]), 1e-6)
    assert float(d.mean) == pytest.approx(exact.mean(), rel=1e-8)
    assert float(d.variance) == pytest.approx(exact.var(), rel=1e-6)
    ends = max(low, -14.0), min(high, 14.0)
    entropy, _ = integrate.quad(lambda x: -exact.pdf(x) * exact.logpdf(x), *ends, epsabs=1e-12)
    assert float(d.entropy()) == pytest.approx(entropy, abs=1e-7)
    expected_mode = min(max(0.0, low), high)
    assert float(d.mode) == pytest.approx(expected_mode, abs=1e-6)
    assert_follows(d.sample((2000,), generator=kernels.Key(0)), exact.cdf)


def test_far_beyond_where_probabilities_underflow():
    # P(X > 60) is below 1e-782. Given that, X - 60 is exponential with rate 60 to a relative 1 / 60^2.
    d = Truncated(STANDARD, low=60.0)
    assert float(d.mean) == pytest.approx(60 + 1 / 60, abs=1e-5)
    x = d.sample((1000,), generator=kernels.Key(1))
    assert bool(((x >= 60) & (x < 61)).all())
    assert float(x.mean()) == pytest.approx(60 + 1 / 60, abs=6 / 60 / 1000**0.5)
    assert float(d.log_survival_function(torch.tensor(61.0))) == pytest.approx(-60.5 - math.log(61 / 60), abs=1e-4)
    heavy = Truncated(Gumbel(0.0, 1.0), low=90.0)
    # The tail of a Gumbel distribution is exponential, with mass exp(-90).
    assert_follows(heavy.sample((1000,), generator=kernels.Key(2)) - 90, stats.expon.cdf)


def test_an_exponential_forgets_its_truncation():
    d = Truncated(Exponential(torch.tensor([2.0, 0.5])), low=torch.tensor([1.0, 30.0]))
    torch.testing.assert_close(d.mean, torch.tensor([1.5, 32.0]))
    torch.testing.assert_close(d.variance, torch.tensor([0.25, 4.0]), rtol=1e-4, atol=0)
    torch.testing.assert_close(d.cdf(torch.tensor([1.5, 32.0])), torch.full((2,), 1 - math.exp(-1)), rtol=1e-5, atol=0)


def test_integers_are_kept_at_both_ends():
    base = Categorical(torch.tensor(stats.poisson(3).pmf(range(8))))
    d = Truncated(base, 1, 4.5)
    k = torch.arange(0.0, 7.0, dtype=torch.float64)
    masses = stats.poisson(3).pmf([1, 2, 3, 4])
    masses = masses / masses.sum()
    assert_relatively_close(d.prob(k[1:5]), masses, 1e-13)
    torch.testing.assert_close(d.cdf(k), torch.tensor([0, *masses.cumsum(), 1, 1]), rtol=1e-13, atol=0)
    torch.testing.assert_close(d.survival_function(k), 1 - d.cdf(k), rtol=1e-9, atol=1e-15)
    assert float(d.mean) == pytest.approx(float((masses * [1, 2, 3, 4]).sum()), rel=1e-13)
    assert float(d.mode) == float(k[1:5][int(masses.argmax())])
    assert [float(d.icdf(p)) for p in (0.0, 1.0)] == [1, 4]
    draws = d.sample((4000,), generator=kernels.Key(3))
    counts = torch.bincount(draws.long(), minlength=5)[1:].numpy()
    assert stats.chisquare(counts, masses * 4000).pvalue > 1e-6
    with pytest.raises(NotImplementedError, match="no reparameterised draws"):
        d.rsample()
    assert float(Truncated(Categorical(torch.ones(5)), 2, 2).entropy()) == pytest.approx(0, abs=1e-6)


def test_gradients_in_parameters_and_bounds():
    def log_prob(loc, scale, low, high, x):
        return Truncated(Normal(loc, scale), low, high, validate_args=False).log_prob(x)

    def draw(loc, scale, low, high):
        return Truncated(Normal(loc, scale), low, high).icdf(torch.tensor(0.3, dtype=torch.float64))

    arguments = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.2, 1.3, 2.0, 4.0, 2.5)]
    for function, given in ((log_prob, arguments), (draw, arguments[:4])):
        assert torch.autograd.gradcheck(function, tuple(given))
    # An end where there is no mass beyond sends no NaN.
    rate = torch.tensor(2.0, requires_grad=True)
    Truncated(Exponential(rate), low=-1.0).log_prob(torch.tensor(0.5)).backward()
    assert float(rate.grad) == pytest.approx(0.0)


def test_batches_supports_and_divergences():
    d = Truncated(Gamma(torch.tensor([2.0, 3.0]), 1.0), low=torch.tensor([[0.5], [1.0], [2.0]]))
    assert d.batch_shape == (3, 2)
    assert d.expand((4, 3, 2)).sample((5,)).shape == (5, 4, 3, 2)
    assert d.log_prob(torch.tensor(2.5)).shape == (3, 2)
    p, q = Truncated(STANDARD, low=0.0), Truncated(Normal(1.0, 2.0), low=0.0)
    x = torch.linspace(0, 12, 200_001, dtype=torch.float64)
    integral = torch.trapezoid(p.prob(x) * (p.log_prob(x) - q.log_prob(x)), x)
    assert float(kl_divergence(p, q)) == pytest.approx(float(integral), rel=1e-6)
    assert float(kl_divergence(STANDARD, p)) == math.inf
    assert_global_stream_untouched(lambda g: d.sample((3,), generator=g))
    assert "Truncated(" in repr(d)


def test_compiles_and_maps():
    def both(loc, low):
        d = Truncated(Normal(loc, 1.0), low=low)
        return d.log_prob(low + 0.5), d.sample((2,), generator=kernels.Key(0))

    arguments = torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 3.0])
    eager = both(*arguments)
    torch.compiler.reset()
    for a, b in zip(torch.compile(both, fullgraph=True, backend="aot_eager")(*arguments), eager, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(torch.vmap(lambda *a: both(*a)[0])(*arguments), eager[0])
    meta = Truncated(Normal(torch.zeros(2, device="meta"), 1.0), low=0.0)
    assert {t.device.type for t in (meta.sample(), meta.log_prob(meta.sample()))} == {"meta"}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Truncated(STANDARD, 2.0, 1.0), ValueError, "leave no value of Normal between them: low is 2.0"),
        (lambda: Truncated(Uniform(0.0, 1.0), low=3.0), ValueError, "leave no value of Uniform"),
        (lambda: Truncated(3.0), TypeError, "base_distribution of Truncated must be a distribution, not float"),
        (lambda: Truncated(Normal(torch.zeros(2), 1.0).to_event(1)), ValueError, "must have scalar events"),
        (lambda: Truncated(STANDARD, low="a"), TypeError, "low of Truncated must be a number"),
        (
            lambda: Truncated(Normal(torch.zeros(2), 1.0), low=torch.zeros(3)),
            ValueError,
            r"base \(2,\), low \(3,\)",
        ),
        (lambda: Truncated(STANDARD, 0.0).log_prob(torch.tensor(-1.0)), ValueError, "value of Truncated must satisfy"),
        (lambda: Truncated.fit(torch.zeros(2)), NotImplementedError, "does not know the base's family"),
    ],
)
def test_what_cannot_be_truncated_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
