"""Finite mixtures against brute force over their components."""

import math

import mpmath
import pytest
import torch
from scipy import optimize, stats

from posterity import kernels
from posterity.distributions import (
    Categorical,
    Delta,
    DiscreteUniform,
    Laplace,
    LogNormal,
    Mixture,
    MixtureSameFamily,
    Normal,
    Pareto,
    Uniform,
    constraints,
)
from posterity.distributions.kl import log_prob_anywhere
from tests.distributions.checks import (
    FALSE_ALARM,
    assert_follows,
    assert_global_stream_untouched,
    assert_relatively_close,
)

WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
LOC = torch.tensor([-4.0, 0.5, 1.0], dtype=torch.float64)
SCALE = torch.tensor([0.5, 0.05, 2.0], dtype=torch.float64)
PARTS = [stats.norm(m, s) for m, s in zip(LOC.tolist(), SCALE.tolist(), strict=True)]


def _exact(statistic, x):
    return sum(w * getattr(part, statistic)(x) for w, part in zip(WEIGHTS.tolist(), PARTS, strict=True))


@pytest.fixture(params=["stacked", "listed"])
def d(request):
    if request.param == "stacked":
        return MixtureSameFamily(Categorical(WEIGHTS), Normal(LOC, SCALE))
    return Mixture([Normal(m, s) for m, s in zip(LOC, SCALE, strict=True)], WEIGHTS)


def test_densities_and_tails_are_weighted_sums(d):
    x = torch.cat([torch.linspace(-30, 30, 41, dtype=torch.float64), LOC])
    for ours, theirs in (("prob", "pdf"), ("cdf", "cdf"), ("survival_function", "sf")):
        assert_relatively_close(getattr(d, ours)(x), _exact(theirs, x.numpy()), 1e-12)
    torch.testing.assert_close(d.log_prob(x).exp(), d.prob(x))


def test_log_tails_stay_finite_where_the_probability_underflows(d):
    # Only the widest component reaches this far.
    far = torch.tensor(200.0, dtype=torch.float64)
    expected = math.log(0.3) + stats.norm(1, 2).logsf(200)
    assert float(d.survival_function(far)) == 0
    assert float(d.log_survival_function(far)) == pytest.approx(expected, rel=1e-12)
    assert float(d.log_cdf(2 - far)) == pytest.approx(expected, rel=1e-12)


def test_mean_and_variance(d):
    mean = float((WEIGHTS * LOC).sum())
    second = float((WEIGHTS * (SCALE.square() + LOC.square())).sum())
    assert float(d.mean) == pytest.approx(mean, rel=1e-12)
    assert float(d.variance) == pytest.approx(second - mean**2, rel=1e-12)
    assert float(d.stddev) == pytest.approx(math.sqrt(second - mean**2), rel=1e-12)


def test_quantiles_agree_with_a_root_finder(d):
    p = torch.tensor([1e-12, 1e-5, 0.1, 0.2, 0.3, 0.5, 0.7, 0.999], dtype=torch.float64)
    exact = [optimize.brentq(lambda x, q=q: _exact("cdf", x) - q, -50, 50, xtol=1e-15, rtol=1e-15) for q in p.tolist()]
    # At the 1 - p end scipy's cdf has 1e-16 to work with, over a density of 1e-3.
    assert_relatively_close(d.icdf(p), exact, 1e-11)
    assert float(d.median) == pytest.approx(exact[5], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantiles_invert_the_cdf_in_both_tails(dtype):
    d = Mixture([Normal(LOC[0].to(dtype), 0.5), Laplace(torch.tensor(3.0, dtype=dtype), 0.01)])
    eps = torch.finfo(dtype).eps
    p = torch.cat([torch.logspace(-20, -0.31, 40, dtype=dtype), 1 - torch.logspace(-6, -0.31, 20, dtype=dtype)])
    x = d.icdf(p)
    # A result off by one rounding of x moves the cdf by the density times eps |x|.
    allowed = 4 * eps * (d.prob(x) * x.abs() + p * 60)
    assert bool(((d.cdf(x) - p).abs() <= allowed).all())


def test_a_number_takes_the_precision_of_the_components():
    d = MixtureSameFamily(Categorical(torch.ones(2)), Normal(torch.zeros(2, dtype=torch.float64), 1.0))
    assert float(d.icdf(0.3)) == pytest.approx(float(stats.norm.ppf(0.3)), rel=1e-14)


def test_ends_of_icdf(d):
    assert (float(d.icdf(0.0)), float(d.icdf(1.0))) == (-math.inf, math.inf)


def test_a_component_without_weight_changes_no_quantile():
    d = Mixture([Normal(0.0, 1.0), Normal(1e6, 1.0)], torch.tensor([1.0, 0.0]))
    p = torch.tensor([1e-6, 0.3, 0.9])
    torch.testing.assert_close(d.icdf(p), Normal(0.0, 1.0).icdf(p), rtol=1e-5, atol=1e-6)


def test_quantiles_have_the_gradients_of_the_implicit_function():
    def quantile(p, weights, loc, scale):
        return MixtureSameFamily(Categorical(weights), Normal(loc, scale)).icdf(p)

    p = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64)
    arguments = tuple(t.clone().requires_grad_() for t in (p, WEIGHTS, LOC, SCALE))
    assert torch.autograd.gradcheck(quantile, arguments)


def test_entropy_is_the_integral_of_its_definition(d):
    def term(x):
        density = float(_exact("pdf", float(x)))
        return -density * math.log(density) if density > 0 else 0

    cuts = [-20, -8, -6, -4, -2, 0, 0.3, 0.4, 0.5, 0.6, 0.7, 1, 3, 6, 10, 20]
    assert float(d.entropy()) == pytest.approx(float(mpmath.quad(term, cuts)), rel=1e-9)


def test_entropy_where_it_is_known():
    one = Normal(torch.tensor(3.0, dtype=torch.float64), 0.2)
    assert float(Mixture([one, one]).entropy()) == pytest.approx(float(one.entropy()), rel=1e-9)
    # So far apart that the choice of the component adds its own entropy in full.
    far = torch.tensor(1e3, dtype=torch.float64)
    apart = Mixture([Normal(0 * far, 1.0), Normal(far, 1e-3)], torch.tensor([0.25, 0.75], dtype=torch.float64))
    expected = 0.25 * Normal(0.0, 1.0).entropy() + 0.75 * Normal(0.0, 1e-3).entropy()
    choice = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert float(apart.entropy()) == pytest.approx(float(expected) + choice, rel=1e-6)


def test_entropy_of_finite_components_is_summed():
    d = MixtureSameFamily(Categorical(torch.tensor([1.0, 3.0])), Categorical(torch.eye(3)[:2]))
    assert float(d.entropy()) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75), rel=1e-6)


def test_mode_is_the_greatest_density(d):
    grid = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    assert float(d.mode) == pytest.approx(float(grid[d.log_prob(grid).argmax()]), abs=1e-4)


def test_finite_components():
    d = Mixture([Categorical(torch.tensor([1.0, 1.0, 0.0])), Categorical(torch.tensor([0.0, 1.0, 3.0]))])
    probs = torch.tensor([0.25, 0.375, 0.375])
    k = torch.arange(3)
    torch.testing.assert_close(d.prob(k), probs)
    torch.testing.assert_close(d.cdf(k), probs.cumsum(0))
    assert [int(d.icdf(p)) for p in (0.0, 0.2, 0.3, 0.7, 1.0)] == [0, 0, 1, 2, 2]
    assert (int(d.mode), int(d.median)) == (1, 1)
    assert float(d.mean) == pytest.approx(float((probs * k).sum()))


def test_draws_follow_the_mixture(d):
    for generator in (torch.Generator().manual_seed(8), kernels.Key(8)):
        assert_follows(d.sample((20_000,), generator=generator), lambda x: _exact("cdf", x))


def test_vector_draws_come_whole_from_one_component():
    loc = torch.tensor([[-10.0, -10.0], [10.0, 10.0]])
    weights = torch.tensor([0.3, 0.7])
    stacked = MixtureSameFamily(Categorical(weights), Normal(loc, 1.0).to_event(1))
    listed = Mixture([Normal(m, 1.0).to_event() for m in loc], weights)
    for d in (stacked, listed):
        draws = d.sample((5_000,), generator=torch.Generator().manual_seed(2))
        positive = draws > 0
        assert torch.equal(positive[:, 0], positive[:, 1])
        assert stats.binomtest(int(positive[:, 0].sum()), 5_000, 0.7).pvalue > FALSE_ALARM
        torch.testing.assert_close(d.mean, torch.tensor([4.0, 4.0]))
        assert d.log_prob(draws).shape == (5_000,)
        with pytest.raises(NotImplementedError, match=r"Monte Carlo estimate.*never put in its place silently"):
            d.entropy()


def test_stacked_and_listed_agree_on_a_batch():
    loc, scale = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    scale = scale.exp()
    stacked = MixtureSameFamily(Categorical(torch.ones(3)), Normal(loc, scale))
    listed = Mixture([Normal(loc[:, i], scale[:, i]) for i in range(3)])
    x = torch.linspace(-3, 3, 5)[:, None]
    for name in ("log_prob", "cdf", "log_survival_function"):
        torch.testing.assert_close(getattr(stacked, name)(x), getattr(listed, name)(x))
    for name in ("mean", "variance", "median", "mode"):
        torch.testing.assert_close(getattr(stacked, name), getattr(listed, name))
    torch.testing.assert_close(stacked.entropy(), listed.entropy())


def test_a_generator_decides_the_draws_alone(d):
    assert_global_stream_untouched(lambda g: d.sample((5,), generator=g))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Mixture([]), ValueError, "at least one distribution, but the list is empty"),
        (lambda: Mixture([Normal(0.0, 1.0), 3]), TypeError, r"components\[1\] of Mixture must be .* not int"),
        (
            lambda: Mixture([Normal(0.0, 1.0), Normal(torch.zeros(2), 1.0).to_event()]),
            ValueError,
            r"one event shape, but components\[0\] has \(\) and components\[1\] has \(2,\)",
        ),
        (
            lambda: Mixture([Normal(0.0, 1.0), Categorical(torch.ones(2))]),
            ValueError,
            r"share their support.*Real\(\)",
        ),
        (
            lambda: Mixture([Normal(0.0, 1.0)], torch.ones(2)),
            ValueError,
            r"weights of Mixture must have 1 entries",
        ),
        (
            lambda: Mixture([Normal(torch.zeros(2), 1.0), Normal(torch.zeros(3), 1.0)]),
            ValueError,
            r"batch shapes in Mixture must broadcast.*components\[0\] \(2,\), components\[1\] \(3,\)",
        ),
        (
            lambda: MixtureSameFamily(Categorical(torch.ones(3)), Normal(torch.zeros(2), 1.0)),
            ValueError,
            r"the 3 components of mixture_distribution as its last batch dimension.*\(2,\)",
        ),
        (
            lambda: MixtureSameFamily(torch.ones(3), Normal(0.0, 1.0)),
            TypeError,
            "mixture_distribution .* not Tensor",
        ),
        (lambda: Mixture.fit(torch.zeros(3)), NotImplementedError, "grows without bound"),
        (
            lambda: Mixture([Normal(0.0, 1.0)]).rsample(),
            NotImplementedError,
            "Mixture has no reparameterised",
        ),
    ],
)
def test_what_is_no_mixture_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "component",
    [
        Uniform(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 5.0])),
        Pareto(torch.tensor([1.0, 2.0]), 3.0),
        DiscreteUniform(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 6.0])),
    ],
    ids=lambda d: type(d).__name__,
)
def test_components_may_have_supports_of_their_own(component):
    d = MixtureSameFamily(Categorical(torch.tensor([0.25, 0.75])), component)
    x = d.sample((200,), generator=torch.Generator().manual_seed(0))
    assert d.log_prob(x).isfinite().all()
    # Where the first component alone lies: its density times its weight.
    low = component.icdf(torch.tensor(0.0))[0]
    torch.testing.assert_close(d.prob(low), 0.25 * log_prob_anywhere(component, low)[0].exp())
    assert float(d.kl_divergence(d)) == 0
    with pytest.raises(ValueError, match="value of MixtureSameFamily must satisfy"):
        d.log_prob(low - 1)


def test_the_entropy_of_uniform_components_apart_is_that_of_the_choice_and_of_the_components():
    d = MixtureSameFamily(
        Categorical(torch.ones(2)), Uniform(torch.tensor([0.0, 3.0]).double(), torch.tensor([1.0, 5.0]).double())
    )
    assert float(d.entropy()) == pytest.approx(1.5 * math.log(2), rel=1e-9)
    assert float(d.log_prob(2.0)) == -math.inf


def test_the_support_of_like_components_has_a_bijector():
    d = MixtureSameFamily(Categorical(torch.ones(2)), LogNormal(torch.zeros(2), 1.0))
    assert d.support is constraints.positive
    assert float(d.mask(False).log_prob(-1.0)) == 0
    assert d.icdf(torch.tensor([0.0, 1.0])).tolist() == [0, math.inf]


def test_the_entropy_of_point_masses_is_refused():
    with pytest.raises(NotImplementedError, match="point masses"):
        Mixture([Delta(0.0), Delta(1.0)]).entropy()
