"""The gamma function's logarithm around 1, divided by what vanishes there, against mpmath."""

import mpmath
import pytest
import torch

from posterity.kernels.lgamma1p import lgamma1p_bend, lgamma1p_over
from tests.kernels.special_checks import assert_composes, assert_differentiable, assert_exact, both_dtypes, single

# The series hand over at 1/2 and at 1/4.
POINTS = [-0.49, -0.3, -0.26, -0.24, -1e-4, -1e-20, 1e-20, 1e-9, 0.1, 0.24, 0.26, 0.49, 0.51, 0.99, 1.5, 4.0, 30.0]


def exact_over(x):
    return mpmath.loggamma(1 + x) / x


def exact_bend(x):
    return (mpmath.loggamma(1 + 2 * x) - 2 * mpmath.loggamma(1 + x)) / x**2


FUNCTIONS = {"lgamma1p_over": (lgamma1p_over, exact_over), "lgamma1p_bend": (lgamma1p_bend, exact_bend)}


@both_dtypes
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes(name, dtype):
    ours, exact = FUNCTIONS[name]
    points = [mpmath.mpf(single(x)) for x in POINTS]
    with mpmath.workdps(80):
        assert_exact(ours, {(float(x),): exact(x) for x in points}, dtype)
        slopes = {(float(x),): mpmath.diff(exact, x) for x in points if x > -0.4}
        assert_exact(torch.func.grad(lambda x: ours(x).sum()), slopes, dtype)


def test_limits_at_zero():
    zero = torch.tensor(0.0, dtype=torch.float64)
    assert abs(float(lgamma1p_over(zero)) + float(mpmath.euler)) <= 2e-16
    assert abs(float(lgamma1p_bend(zero)) - float(mpmath.zeta(2))) <= 4e-16
    slopes = [float(torch.func.grad(f)(zero)) for f in (lgamma1p_over, lgamma1p_bend)]
    # The series of lgamma(1 + x) is -euler x + zeta(2) x^2 / 2 - zeta(3) x^3 / 3 + ...
    assert abs(slopes[0] - float(mpmath.zeta(2)) / 2) <= 4e-16
    assert abs(slopes[1] + 2 * float(mpmath.zeta(3))) <= 2e-15


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_and_composition(name):
    ours, _ = FUNCTIONS[name]
    x = torch.tensor([-0.3, 0.0, 0.1, 0.4, 2.0], dtype=torch.float64)
    assert_differentiable(ours, x)
    assert_composes(ours, x)
    assert bool(ours(torch.tensor(torch.nan)).isnan())
