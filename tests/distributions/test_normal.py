"""The normal distribution against mpmath, far into both tails."""

import math

import mpmath
import pytest
import torch
from scipy import stats

from posterity.distributions import Laplace, Normal
from tests.distributions.checks import (
    assert_relatively_close,
)

LOC, SCALE = 0.75, 1.3
# As far out as a normal float32, and float64, probability reaches.
REACH = {torch.float32: 12.5, torch.float64: 37.0}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def case(request):
    """A distribution, points, the points' exact standard scores, and the tolerance at each.

    Rounding the score by eps changes a tail by eps z^2 of itself.
    """
    dtype = request.param
    d = Normal(torch.tensor(LOC, dtype=dtype), SCALE)
    x = LOC + SCALE * torch.linspace(-REACH[dtype], REACH[dtype], 61, dtype=dtype)
    with mpmath.workdps(40):
        loc, scale = mpmath.mpf(float(d.loc)), mpmath.mpf(float(d.scale))
        z = [(mpmath.mpf(float(v)) - loc) / scale for v in x]
    tolerance = 4 * torch.finfo(dtype).eps * (1 + torch.tensor([float(s) ** 2 for s in z]))
    return d, x, z, tolerance


def test_tails_agree_with_exact_values(case):
    d, x, z, tolerance = case
    with mpmath.workdps(350):
        lower = [mpmath.ncdf(s) for s in z]
        upper = [mpmath.ncdf(-s) for s in z]
        assert_relatively_close(d.cdf(x), lower, tolerance)
        assert_relatively_close(d.survival_function(x), upper, tolerance)
        assert_relatively_close(d.log_cdf(x), [mpmath.log1p(-q) for q in upper], tolerance)
        assert_relatively_close(d.log_survival_function(x), [mpmath.log1p(-p) for p in lower], tolerance)


def test_log_cdf_stays_finite_where_the_probability_underflows():
    d = Normal(0.0, 1.0)
    with mpmath.workdps(40):
        exact = [mpmath.log(mpmath.ncdf(-z)) for z in (20, 100, 10_000)]
    assert_relatively_close(d.log_cdf(torch.tensor([-20.0, -100.0, -1e4])), exact, 4e-7)
    assert_relatively_close(d.log_survival_function(torch.tensor([20.0, 100.0, 1e4])), exact, 4e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_icdf_agrees_with_exact_values(dtype):
    smallest = {torch.float32: -37, torch.float64: -300}[dtype]
    p = torch.cat([torch.logspace(smallest, -2, 40, dtype=dtype), torch.linspace(0.03, 0.97, 33, dtype=dtype)[:16]])
    exact = stats.norm.ppf(p.double().numpy())
    assert_relatively_close(Normal(torch.zeros((), dtype=dtype), 1.0).icdf(p), exact, 8 * torch.finfo(dtype).eps)


def test_ends_of_icdf_and_its_refusal_beyond_them():
    d = Normal(0.0, 1.0)
    assert d.icdf(0.0) == -math.inf
    assert d.icdf(1.0) == math.inf
    assert math.isfinite(d.icdf(1e-10))
    with pytest.raises(ValueError, match=r"value of icdf of Normal must satisfy .* holds tensor\(1.5"):
        d.icdf(torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize("q", [Normal(0.3, 2.0), Laplace(0.3, 2.0), Laplace(2.0, 0.1), Normal(2.0, 0.1)])
def test_kl_is_the_integral_of_its_definition(q):
    p = Normal(torch.tensor(LOC, dtype=torch.float64), SCALE)
    q = type(q)(q.loc.double(), q.scale.double())

    def gap(x):
        x = torch.tensor(float(x), dtype=torch.float64)
        return float(p.prob(x) * (p.log_prob(x) - q.log_prob(x)))

    exact = mpmath.quad(
        gap,
        [LOC - 11 * SCALE, LOC - 3 * SCALE, *sorted([LOC, float(q.loc)]), LOC + 3 * SCALE, LOC + 11 * SCALE],
    )
    assert float(p.kl_divergence(q)) == pytest.approx(float(exact), rel=1e-9)
    assert float(p.cross_entropy(q)) == pytest.approx(float(exact) + float(p.entropy()), rel=1e-9)


def test_kl_of_near_equal_scales_keeps_its_digits_in_float32():
    p, q = Normal(0.0, 1.001), Normal(0.0, 1.0)
    with mpmath.workdps(40):
        r = mpmath.log(mpmath.mpf(float(p.scale)))
        exact = (mpmath.expm1(2 * r) - 2 * r) / 2
    # The ratio of scales is rounded by eps / 2, which is 6e-5 of its logarithm, 1e-3.
    assert float(p.kl_divergence(q)) == pytest.approx(float(exact), rel=5e-4)
    assert float(p.kl_divergence(Normal(0.0, 1.001))) == 0


def test_gradients_agree_with_finite_differences():
    x = torch.tensor([-30.0, -5.0, -1.0, 0.3, 4.0], dtype=torch.float64, requires_grad=True)
    loc = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    for name in ("log_prob", "cdf", "log_cdf", "survival_function", "log_survival_function"):
        assert torch.autograd.gradcheck(lambda x, m, s, name=name: getattr(Normal(m, s), name)(x), (x, loc, scale))
    p = torch.tensor([0.01, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, m, s: Normal(m, s).icdf(p), (p, loc, scale))
    assert torch.autograd.gradcheck(lambda m, s: Normal(m, s).kl_divergence(Normal(s, m)), (loc, scale))


def test_fit_refuses_what_has_no_maximum():
    with pytest.raises(ValueError, match="scale of Normal must satisfy GreaterThan"):
        Normal.fit(torch.ones(4))
    with pytest.raises(ValueError, match=r"data of Normal.fit must hold draws along dimension 0.*\(\)"):
        Normal.fit(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"data of Normal.fit must be finite"):
        Normal.fit(torch.tensor([1.0, math.nan]))
    with pytest.raises(TypeError, match=r"data of Normal.fit must be a real tensor, not list"):
        Normal.fit([1.0, 2.0])


def test_documented_values_of_mindspore():
    d = Normal(0.0, 1.0)
    assert float(d.entropy()) == pytest.approx(1.4189385, abs=5e-8)
    assert float(d.cdf(-0.5)) == pytest.approx(0.30853754, abs=5e-9)
    assert float(d.kl_divergence(Normal(1.0, 2.0))) == pytest.approx(0.44314718, abs=5e-8)
