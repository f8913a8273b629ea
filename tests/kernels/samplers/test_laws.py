"""Every sampler follows its law, from each source and at extreme parameters (scipy's laws, false alarm 1e-6)."""

import numpy as np
import pytest
import torch
from scipy import stats

from posterity.kernels import Key, samplers
from tests.kernels.samplers.checks import SOURCES, assert_counts_follow, assert_follows
from tests.kernels.special_checks import both_dtypes
from tests.statistical import FALSE_ALARM, assert_mean, assert_uncorrelated

N = 40_000
EVERY_SOURCE = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())


class Log:
    """The law of the logarithm of a positive variable whose lower tail is x^a / (Gamma(a + 1))."""

    def __init__(self, a):
        self.a = a

    def cdf(self, y):
        from scipy.special import gammaln

        small = np.exp(np.minimum(self.a * y - gammaln(self.a + 1), 0))
        return np.where(y < -30, small, stats.gamma(self.a).cdf(np.exp(np.maximum(y, -30))))


@EVERY_SOURCE
@both_dtypes
def test_exponential_and_gumbel(source, dtype):
    like = torch.empty((), dtype=dtype)
    x = samplers.exponential((N,), source=source(), like=like)
    assert x.min() > 0
    assert_follows(x, stats.expon)
    assert_follows(samplers.gumbel((N,), source=source(), like=like), stats.gumbel_r)


def test_both_ends_of_an_exponential_draw_are_reached():
    # The smallest of 2e6 draws has mean 5e-7, and the largest exceeds 10 but for a chance of exp(-90).
    x = samplers.exponential((2_000_000,), source=Key(1), like=torch.empty(()))
    assert 0 < x.min() < 1.4e-5 / 2
    assert len(x[x < 1e-4].unique()) > 0.9 * (x < 1e-4).sum()
    assert x.max() > 10


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize("a", [0.1, 0.7, 1.0, 1.3, 5.0, 1e3, 1e7])
def test_standard_gamma(a, source, dtype):
    x = samplers.standard_gamma(torch.tensor(a, dtype=dtype), (N,), source=source())
    assert (x > 0).all()
    assert_follows(x, stats.gamma(a))


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize("a", [1e-6, 1e-3, 0.3, 1.0, 20.0, 1e4])
def test_log_standard_gamma(a, source, dtype):
    assert_follows(samplers.log_standard_gamma(torch.tensor(a, dtype=dtype), (N,), source=source()), Log(a))


@EVERY_SOURCE
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1.0, 3.0), (7.0, 0.4), (200.0, 100.0), (1e5, 1e5)])
def test_beta(a, b, source):
    assert_follows(samplers.beta(torch.tensor(a, dtype=torch.float64), b, (N,), source=source()), stats.beta(a, b))


@EVERY_SOURCE
def test_beta_of_tiny_concentrations_is_a_coin(source):
    # As both concentrations go to zero, nearly all mass moves to the ends, in proportion.
    x = samplers.beta(torch.tensor(3e-5), 1e-5, (N,), source=source())
    assert ((x > 0) & (x < 1)).all()
    assert stats.binomtest(int((x > 0.5).sum()), N, 0.75).pvalue > FALSE_ALARM


@EVERY_SOURCE
@pytest.mark.parametrize("scale", [1e-5, 0.2, 1.0, 50.0])
def test_dirichlet(scale, source):
    a = scale * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    x = samplers.dirichlet(a, (N,), source=source())
    torch.testing.assert_close(x.sum(-1), torch.ones(N, dtype=torch.float64))
    assert_mean(x, a / a.sum())
    if scale > 0.1:
        for i in range(3):
            assert_follows(x[:, i], stats.beta(float(a[i]), float(a.sum() - a[i])))


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.3, 4.0, 9.99, 10.0, 23.0, 400.0, 1e6, 1e8])
def test_poisson(rate, source, dtype):
    rate = torch.tensor(rate, dtype=dtype)
    assert_counts_follow(samplers.poisson(rate, (N,), source=source()), stats.poisson(rate.double().item()))


def test_counts_of_rare_events_keep_their_share_in_float32():
    # A million cells of rate 1e-5: their sum is Poisson of mean 10.
    x = samplers.poisson(torch.full((1_000_000,), 1e-5), source=Key(4)).sum()
    assert stats.poisson(10).cdf(x) > FALSE_ALARM
    assert stats.poisson(10).sf(x - 1) > FALSE_ALARM


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize(
    ("n", "p"),
    [
        (0, 0.5), (1, 0.3), (7, 0.0), (7, 1.0), (20, 0.5), (19, 0.5), (50, 0.9), (1000, 1e-3), (10_000, 0.4),
        (1_000_000, 0.999), (10**8, 1e-8), (10**8, 1e-6), (10**8, 0.25),
    ],
)  # fmt: skip
def test_binomial(n, p, source, dtype):
    p = torch.tensor(p, dtype=dtype)
    x = samplers.binomial(torch.tensor(float(n), dtype=dtype), p, (N,), source=source())
    assert ((x >= 0) & (x <= n)).all()
    assert_counts_follow(x, stats.binom(n, p.double().item()))


@EVERY_SOURCE
def test_multinomial(source):
    p = torch.tensor([0.1, 0.0, 0.2, 0.4, 0.3], dtype=torch.float64)
    x = samplers.multinomial(50, p, (N,), source=source())
    assert (x.sum(-1) == 50).all()
    for i in range(5):
        assert_counts_follow(x[:, i], stats.binom(50, float(p[i])))
    # The pair of two categories is binomial too: the counts depend on each other as they should.
    assert_counts_follow(x[:, 2] + x[:, 4], stats.binom(50, 0.5))
    assert_counts_follow(x[:, 0] + x[:, 3], stats.binom(50, 0.5))


def test_multinomial_of_one_category_has_all():
    assert samplers.multinomial(torch.tensor([3, 4]), torch.ones(1), source=Key(0)).tolist() == [[3], [4]]


@EVERY_SOURCE
@both_dtypes
def test_categorical(source, dtype):
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0, -4.0], [800.0, 0.0, 799.0, -torch.inf, -torch.inf]], dtype=dtype)
    x = samplers.categorical(logits, (N,), source=source())
    for i in range(2):
        expected = torch.softmax(logits[i].double(), -1).numpy() * N
        observed = np.bincount(x[:, i].numpy(), minlength=5)
        assert (observed[expected < 1e-9] == 0).all()
        kept = expected > 1
        assert stats.chisquare(observed[kept], expected[kept]).pvalue > FALSE_ALARM


def test_categories_of_a_long_list_have_equal_shares_in_float32():
    # Two thirds of a million equal categories are above index 333,333, also at the end of the cumulative sum.
    x = samplers.categorical(torch.zeros(1_000_000), (200_000,), source=Key(2)).double()
    assert stats.kstest(x.numpy(), stats.uniform(0, 1e6).cdf).pvalue > FALSE_ALARM


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize("concentration", [0.0, 1e-3, 0.5, 2.0, 30.0, 1e4, 1e8])
def test_von_mises(concentration, source, dtype):
    x = samplers.von_mises(torch.tensor(concentration, dtype=dtype), (N,), source=source())
    # For large concentrations the law is normal up to terms of the order of 1 / concentration.
    normal = stats.norm(0, max(concentration, 1e-9) ** -0.5)
    uniform = stats.uniform(-np.pi, 2 * np.pi)
    law = uniform if concentration == 0 else normal if concentration > 1e7 else stats.vonmises(concentration)
    assert x.abs().max() <= 3.1415928
    assert_follows(x, law)


@both_dtypes
@pytest.mark.parametrize("count", [1, 16, 17, 100, 3000])  # one by one, and several candidates at once
def test_von_mises_draws_of_any_number(count, dtype):
    generator = torch.Generator().manual_seed(3)
    concentration = torch.full((count,), 2.0, dtype=dtype)
    draws = [samplers.von_mises(concentration, source=generator) for _ in range(6000 // count)]
    assert draws[0].dtype == dtype
    assert_follows(torch.cat(draws), stats.vonmises(2.0))


@pytest.mark.parametrize("count", [1, 100])
def test_von_mises_draws_of_no_concentration_are_none(count):
    concentration = torch.ones(count)
    concentration[-1] = torch.nan
    draws = samplers.von_mises(concentration)
    assert draws.isnan().tolist() == concentration.isnan().tolist()


class Height:
    """The law of 1 - cos on the sphere in three dimensions: a truncated exponential one."""

    def __init__(self, concentration):
        self.rate = max(concentration, 1e-12)

    def cdf(self, v):
        return np.expm1(-self.rate * v) / np.expm1(-2 * self.rate)


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize("concentration", [0.0, 0.5, 10.0, 1e8])
def test_von_mises_fisher(concentration, source, dtype):
    concentration = torch.tensor(concentration, dtype=dtype)
    on_sphere = samplers.von_mises_fisher_versine(concentration, 3, (N,), source=source())
    assert_follows(on_sphere, Height(float(concentration)))
    on_circle = samplers.von_mises_fisher_versine(concentration, 2, (N,), source=source())
    angle = 2 * torch.asin(torch.sqrt(on_circle.double() / 2).clamp(max=1))
    if 0 < concentration < 1e7:
        assert_follows(
            angle, type("Folded", (), {"cdf": lambda x: 2 * stats.vonmises(float(concentration)).cdf(x) - 1})
        )


@pytest.mark.parametrize("dimension", [4, 11, 500])
def test_von_mises_fisher_in_high_dimensions_has_its_mean(dimension):
    from scipy.special import ive

    k = 20.0
    x = samplers.von_mises_fisher_versine(torch.tensor(k, dtype=torch.float64), dimension, (N,), source=Key(1))
    assert_mean(1 - x, float(ive(dimension / 2, k) / ive(dimension / 2 - 1, k)))


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize(("loc", "concentration"), [(1.0, 1.0), (3.0, 0.01), (0.5, 40.0), (2.0, 1e6)])
def test_inverse_gaussian(loc, concentration, source, dtype):
    x = samplers.inverse_gaussian(torch.tensor(loc, dtype=dtype), concentration, (N,), source=source())
    assert (x > 0).all()
    assert_follows(x, stats.invgauss(loc / concentration, scale=concentration))


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize(
    ("low", "high"), [(-np.inf, np.inf), (-1.0, 2.0), (3.0, np.inf), (-12.0, -10.0), (30.0, np.inf), (0.1, 0.1001)]
)
def test_truncated_normal(low, high, source, dtype):
    low, high = torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype)
    x = samplers.truncated_normal(low, high, (N,), source=source())
    assert ((x >= low) & (x <= high)).all()
    if high - low < 1e-3:
        # Narrower than 1e-3 the law is uniform up to 1e-4, and float32 has 13,000 numbers in it.
        assert_follows(x, stats.uniform(float(low), float(high - low)))
    else:
        assert_follows(x, stats.truncnorm(float(low), float(high)))


@EVERY_SOURCE
@both_dtypes
@pytest.mark.parametrize("exponent", [1.05, 1.5, 2.0, 4.0, 30.0])
def test_zipf(exponent, source, dtype):
    exponent = torch.tensor(exponent, dtype=dtype)
    x = samplers.zipf(exponent, (N,), source=source()).double()
    assert x.min() >= 1
    # The probabilities of the first numbers, and of all the others together.
    first = stats.zipf(float(exponent)).pmf(np.arange(1, 40))
    expected = np.append(first, 1 - first.sum()) * N
    observed = np.bincount(np.minimum(x.numpy(), 40).astype(int), minlength=41)[1:]
    kept = expected > 5
    expected, observed = (np.append(c[kept], c[~kept].sum()) for c in (expected, observed))
    expected, observed = (c if expected[-1] > 5 else np.append(c[:-2], c[-2:].sum()) for c in (expected, observed))
    if len(expected) > 1:
        assert stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue > FALSE_ALARM


def test_large_numbers_of_zipf_have_their_tail_in_float32():
    # P(X > x) is x^(1 - s) / ((s - 1) zeta(s)) up to a relative error of (s - 1) / (2 x).
    from scipy.special import zeta

    s, x = 1.3, 1e9
    draws = samplers.zipf(torch.tensor(s), (200_000,), source=Key(3))
    p = x ** (1 - s) / ((s - 1) * zeta(s))
    assert stats.binomtest(int((draws > x).sum()), len(draws), p).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", ["standard_gamma", "poisson", "von_mises", "zipf"])
def test_neighbouring_draws_of_a_key_are_independent(name):
    parameter = torch.tensor({"zipf": 4.0, "poisson": 30.0}.get(name, 2.0))
    x = getattr(samplers, name)(parameter, (2 * N,), source=Key(9))
    assert_uncorrelated(x[:-1], x[1:])
    assert_uncorrelated(x[:N], x[N:])
    assert_uncorrelated(x, getattr(samplers, name)(parameter, (2 * N,), source=Key(9).fold_in(0)))
