"""The Laplace distribution against mpmath, far into both tails."""

import math

import mpmath
import pytest
import torch

from posterity.distributions import Laplace, Normal
from posterity.kernels import Key
from tests.distributions.checks import (
    assert_relatively_close,
)

LOC, SCALE = 0.75, 1.3
REACH = {torch.float32: 80.0, torch.float64: 600.0}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def case(request):
    """A distribution, points, their exact scores, and a tolerance: eps of the score is eps |z| of a tail."""
    dtype = request.param
    d = Laplace(torch.tensor(LOC, dtype=dtype), SCALE)
    x = LOC + SCALE * torch.linspace(-REACH[dtype], REACH[dtype], 60, dtype=dtype)
    with mpmath.workdps(300):
        loc, scale = mpmath.mpf(float(d.loc)), mpmath.mpf(float(d.scale))
        z = [(mpmath.mpf(float(v)) - loc) / scale for v in x]
    tolerance = 4 * torch.finfo(dtype).eps * (1 + torch.tensor([abs(float(s)) for s in z]))
    return d, x, z, tolerance


def _exact_cdf(z):
    return mpmath.exp(z) / 2 if z < 0 else 1 - mpmath.exp(-z) / 2


def test_tails_agree_with_exact_values(case):
    d, x, z, tolerance = case
    with mpmath.workdps(300):
        lower = [_exact_cdf(s) for s in z]
        upper = [_exact_cdf(-s) for s in z]
        assert_relatively_close(d.cdf(x), lower, tolerance)
        assert_relatively_close(d.survival_function(x), upper, tolerance)
        assert_relatively_close(d.log_cdf(x), [mpmath.log(p) for p in lower], tolerance)
        assert_relatively_close(d.log_survival_function(x), [mpmath.log(p) for p in upper], tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_icdf_agrees_with_exact_values(dtype):
    smallest = {torch.float32: -37, torch.float64: -300}[dtype]
    p = torch.cat([torch.logspace(smallest, -1, 40, dtype=dtype), torch.linspace(0.51, 0.999, 20, dtype=dtype)])
    with mpmath.workdps(40):
        exact = [mpmath.log(2 * v) if v < 0.5 else -mpmath.log(2 * (1 - v)) for v in map(mpmath.mpf, p.tolist())]
    assert_relatively_close(Laplace(torch.zeros((), dtype=dtype), 1.0).icdf(p), exact, 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("q", [Normal(0.3, 2.0), Laplace(0.3, 2.0), Laplace(2.0, 0.1), Normal(2.0, 0.1)])
def test_kl_is_the_integral_of_its_definition(q):
    p = Laplace(torch.tensor(LOC, dtype=torch.float64), SCALE)
    q = type(q)(q.loc.double(), q.scale.double())

    def gap(x):
        x = torch.tensor(float(x), dtype=torch.float64)
        return float(p.prob(x) * (p.log_prob(x) - q.log_prob(x)))

    cuts = [
        LOC - 45 * SCALE,
        LOC - 9 * SCALE,
        *sorted([LOC, float(q.loc)]),
        LOC + 9 * SCALE,
        LOC + 45 * SCALE,
    ]
    assert float(p.kl_divergence(q)) == pytest.approx(float(mpmath.quad(gap, cuts)), rel=1e-9)


def test_kl_survives_extreme_scales_in_float32():
    sharp, wide = Laplace(0.0, 1e-30), Laplace(1e10, 1e10)
    assert float(sharp.kl_divergence(wide)) == pytest.approx(40 * math.log(10), rel=1e-6)
    assert float(wide.kl_divergence(wide)) == 0


def test_draws_are_finite_at_both_ends_of_the_uniform_noise(monkeypatch):
    eps = torch.finfo(torch.float32).eps
    ends = torch.tensor([0.0, 0.5, 1 - eps / 2, 1.0])
    monkeypatch.setattr("posterity.distributions.laplace.uniform", lambda shape, **kwargs: ends)
    draws = Laplace(0.0, 1.0).sample((4,), generator=Key(0))
    assert bool(draws.isfinite().all())
    # The least and the greatest number of torch.rand give opposite draws.
    assert draws[0] == -draws[2]
    assert draws[1] != 0


def test_noise_of_torchs_generator_is_its_uniform_numbers_centred_by_half_a_step():
    seeds = [torch.Generator().manual_seed(4) for _ in range(2)]
    noise = Laplace(0.0, 1.0)._signed_uniform((10_000,), seeds[0]).double()
    u = torch.rand(10_000, generator=seeds[1]).double()
    assert torch.equal(noise, 2 * u - 1 + torch.finfo(torch.float32).eps / 2)


def test_gradients_agree_with_finite_differences():
    x = torch.tensor([-300.0, -5.0, -1.0, 0.3, 4.0], dtype=torch.float64, requires_grad=True)
    loc = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    for name in ("log_prob", "cdf", "log_cdf", "survival_function", "log_survival_function"):
        assert torch.autograd.gradcheck(lambda x, m, s, name=name: getattr(Laplace(m, s), name)(x), (x, loc, scale))
    p = torch.tensor([0.01, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, m, s: Laplace(m, s).icdf(p), (p, loc, scale))
    for q in (Laplace, Normal):
        assert torch.autograd.gradcheck(lambda m, s, q=q: Laplace(m, s).kl_divergence(q(s, m)), (loc, scale))


def test_gradients_at_the_kink_are_those_of_the_density():
    x = torch.tensor(LOC, requires_grad=True)
    d = Laplace(LOC, SCALE)
    for name, slope in (
        ("cdf", 0.5),
        ("log_cdf", 1.0),
        ("survival_function", -0.5),
        ("log_survival_function", -1.0),
    ):
        (gradient,) = torch.autograd.grad(getattr(d, name)(x), x)
        assert float(gradient) == pytest.approx(slope / SCALE, rel=1e-6)


def test_fit_takes_the_middle_of_an_even_number_of_draws():
    assert Laplace.fit(torch.tensor([0.0, 1.0, 3.0, 9.0])).loc == 2
    assert Laplace.fit(torch.tensor([0.0, 1.0, 3.0]), weights=torch.tensor([1, 1, 2])).loc == 2
