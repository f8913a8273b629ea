"""The cumulants of a tilted uniform variable against mpmath, through zero and into both limits."""

import mpmath
import pytest
import torch

from posterity.kernels.uniform_cumulants import uniform_cgf, uniform_tilted_mean, uniform_tilted_variance
from tests.kernels.special_checks import assert_composes, assert_differentiable, assert_exact, both_dtypes, single

# The series hand over at 1.
POINTS = [-1e4, -300.0, -20.0, -1.01, -0.99, -0.1, -1e-6, -1e-30, 1e-30, 1e-4, 0.3, 0.99, 1.01, 3.0, 50.0, 1e6]
FUNCTIONS = {
    "uniform_cgf": (uniform_cgf, lambda t: mpmath.log(mpmath.expm1(t) / t)),
    "uniform_tilted_mean": (uniform_tilted_mean, lambda t: -1 / mpmath.expm1(-t) - 1 / t),
    "uniform_tilted_variance": (uniform_tilted_variance, lambda t: 1 / t**2 - 1 / (4 * mpmath.sinh(t / 2) ** 2)),
}


@both_dtypes
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name, dtype):
    ours, exact = FUNCTIONS[name]
    with mpmath.workdps(150):
        assert_exact(ours, {(single(t),): exact(mpmath.mpf(single(t))) for t in POINTS}, dtype)


def test_each_is_the_derivative_of_the_one_before():
    t = torch.tensor(POINTS, dtype=torch.float64)
    slope, bend = (torch.func.grad(lambda t, f=f: f(t).sum())(t) for f in (uniform_cgf, uniform_tilted_mean))
    torch.testing.assert_close(slope, uniform_tilted_mean(t), rtol=1e-12, atol=0)
    # Towards large tilts the derivative of 1 - 1 / t loses what the variance keeps.
    torch.testing.assert_close(bend, uniform_tilted_variance(t), rtol=1e-10, atol=0)


def test_values_at_zero_are_those_of_the_uniform_distribution():
    zero = torch.tensor(0.0, dtype=torch.float64)
    assert [float(f(zero)) for f in (uniform_cgf, uniform_tilted_mean)] == [0.0, 0.5]
    assert abs(float(uniform_tilted_variance(zero)) - 1 / 12) <= 2e-17


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_and_composition(name):
    ours, _ = FUNCTIONS[name]
    t = torch.tensor([-4.0, -0.3, 0.0, 0.7, 3.0], dtype=torch.float64)
    assert_differentiable(ours, t)
    assert_composes(ours, t)
    assert bool(ours(torch.tensor(torch.nan)).isnan())
