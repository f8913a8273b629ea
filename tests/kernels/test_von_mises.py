"""The von Mises distribution's probabilities and quantiles against mpmath."""

import math

import mpmath
import pytest
import torch

from posterity.kernels import von_mises_cdf, von_mises_icdf
from posterity.kernels.von_mises import log_normaliser_of_many
from tests.kernels.special_checks import (
    PROMISED,
    assert_composes,
    assert_differentiable,
    assert_exact,
    assert_nan_in_nan_out,
    assert_no_nan,
    both_dtypes,
    single,
)

INF = math.inf
ANGLES = [single(x) for x in (-3.14, -3, -2, -1.2, -0.5, -0.05, -1e-3)]
CONCENTRATIONS = [single(k) for k in (1e-3, 0.5, 3, 11, 50, 1e3, 1e6)]


@pytest.fixture(scope="module")
def exact():
    """(x, concentration) to the probability below x, the density, and the probability's concentration slope."""
    table = {}
    with mpmath.workdps(25):
        for k in map(mpmath.mpf, CONCENTRATIONS):
            total = 2 * mpmath.pi * mpmath.besseli(0, k) * mpmath.exp(-k)
            ratio = mpmath.besseli(1, k) / mpmath.besseli(0, k)
            for x in map(mpmath.mpf, ANGLES):
                sine = mpmath.sqrt(mpmath.sin(x / 2) ** 2 + 30 / k)
                cuts = mpmath.linspace(-2 * mpmath.asin(min(sine, 1)), x, 4)
                relative = [
                    mpmath.quad(
                        lambda t, n=n, k=k, x=x, r=ratio: (
                            mpmath.exp(k * (mpmath.cos(t) - mpmath.cos(x))) * (mpmath.cos(t) - r) ** n
                        ),
                        cuts,
                    )
                    for n in (0, 1)
                ]
                density = mpmath.exp(k * (mpmath.cos(x) - 1)) / total
                table[float(x), float(k)] = density * relative[0], density, density * relative[1]
    return table


@both_dtypes
def test_probabilities_and_slopes(exact, dtype):
    assert_exact(von_mises_cdf, {p: e[0] for p, e in exact.items()}, dtype)
    for place in (0, 1):
        slope = torch.func.grad(lambda x, k: von_mises_cdf(x, k).sum(), argnums=place)
        assert_exact(slope, {p: e[1 + place] for p, e in exact.items()}, dtype)


@both_dtypes
def test_quantiles(exact, dtype):
    tiny = 4 * torch.finfo(dtype).tiny
    for (x, k), (level, density, _) in exact.items():
        if level < tiny:
            continue
        p = torch.tensor(float(level), dtype=dtype)
        # The level is rounded: to first order the quantile moves by that over the density.
        root = float(x + (mpmath.mpf(float(p)) - level) / density)
        assert float(von_mises_icdf(p, k)) == pytest.approx(root, rel=PROMISED[dtype]), (x, k)
        assert von_mises_icdf(1 - p, k) == -von_mises_icdf(1 - (1 - p), k)


@both_dtypes
def test_symmetry_and_ends(dtype):
    x = torch.tensor([-INF, -4.0, -math.pi, 0.0, math.pi, 4.0, INF], dtype=dtype)
    for concentration in (0.0, 1.0, 1e6):
        expected = torch.tensor([0, 0, 0, 0.5, 1, 1, 1], dtype=dtype)
        torch.testing.assert_close(von_mises_cdf(x, concentration), expected, rtol=64 * torch.finfo(dtype).eps, atol=0)
        levels = torch.tensor([0.0, 0.5, 1.0], dtype=dtype)
        torch.testing.assert_close(von_mises_icdf(levels, concentration), x[2:5], rtol=0, atol=torch.finfo(dtype).eps)
    angle = torch.tensor([-3.0, -1.0, 0.5, 3.0], dtype=dtype)
    torch.testing.assert_close(von_mises_cdf(angle, 0.0), 0.5 + angle / (2 * math.pi))
    assert bool(von_mises_icdf(torch.tensor([-0.1, 1.1], dtype=dtype), 1.0).isnan().all())
    concentrations = (0, 1e-20, 1, 500, 1e6, 1e20, INF)
    points = [(x, k) for x in (-INF, -math.pi, -3, -1e-20, 0, 1, math.pi, INF) for k in concentrations]
    assert_no_nan(von_mises_cdf, points, dtype)
    assert_no_nan(von_mises_icdf, [(p, k) for p in (0, 0.1, 0.5, 0.75, 1) for k in concentrations[:-1]], dtype)


def test_derivatives_composition_and_nan():
    x = torch.tensor([-3.0, -1.0, -0.2, 0.1, 2.0], dtype=torch.float64)
    concentration = torch.tensor([0.5, 2.0, 5.0, 0.7, 3.0], dtype=torch.float64)
    assert_differentiable(von_mises_cdf, x, concentration)
    assert_composes(von_mises_cdf, x, concentration)
    assert_nan_in_nan_out(von_mises_cdf, x, concentration)
    p = torch.tensor([0.01, 0.2, 0.45, 0.7, 0.9], dtype=torch.float64)
    assert_differentiable(von_mises_icdf, p, concentration)
    assert_composes(von_mises_icdf, p, concentration)
    assert_nan_in_nan_out(von_mises_icdf, p, concentration)


def test_the_normaliser_of_many_is_that_of_bessel_functions():
    concentration = torch.cat([torch.linspace(0, 20, 100_001), torch.logspace(-37, 38, 20_001)])
    exact = (2 * math.pi * torch.special.i0e(concentration.double())).log()
    error = (log_normaliser_of_many(concentration).double() - exact).abs()
    # A few roundings of the logarithm, of its argument and of the concentration that is taken off.
    assert float((error / (1 + exact.abs())).max()) < 8 * torch.finfo(torch.float32).eps
