"""The Box-Cox map and its inverse against mpmath, with powers on both sides of zero and at it."""

import math

import mpmath
import pytest
import torch

from posterity.kernels.box_cox import expm1_over, log1p_over
from tests.kernels.special_checks import (
    assert_composes,
    assert_differentiable,
    assert_exact,
    assert_nan_in_nan_out,
    both_dtypes,
    single,
)

# At |power x| = 0.4, and 1 for the inverse, the power series of the slopes hand over to closed forms.
POWERS = [-2.5, -0.4, -1e-3, -1e-12, 0.0, 1e-20, 1e-7, 0.1, 0.399, 0.401, 0.99, 1.01, 3.0]
VALUES = [1e-20, 1e-3, 0.3, 0.9999, 1.5, 30.0]
# Both are analytic in the power; so high a precision leaves their limit at 0 in the quotient.
NEAR_0 = mpmath.mpf(10) ** -60


def log_map(power, x):
    power = mpmath.mpf(power) or NEAR_0
    return mpmath.log1p(power * mpmath.mpf(x)) / power


def exp_map(power, y):
    power = mpmath.mpf(power) or NEAR_0
    return mpmath.expm1(power * mpmath.mpf(y)) / power


def pairs(inside=lambda power, x: True):
    rounded = ((single(p), single(x)) for p in POWERS for x in VALUES)
    return [(p, x) for p, x in rounded if inside(p, x)]


LOG_PAIRS = pairs(lambda power, x: power * x > -0.9)
CASES = {"log1p_over": (log1p_over, log_map, LOG_PAIRS), "expm1_over": (expm1_over, exp_map, pairs())}


@both_dtypes
@pytest.mark.parametrize("name", CASES)
def test_values_and_both_derivatives(name, dtype):
    ours, exact, points = CASES[name]
    with mpmath.workdps(200):
        assert_exact(ours, {p: exact(*p) for p in points}, dtype)
        for place in range(2):
            order = (1 - place, place)
            slopes = {p: mpmath.diff(exact, p, order) for p in points}
            assert_exact(torch.func.grad(lambda *a: ours(*a).sum(), argnums=place), slopes, dtype)


@both_dtypes
@pytest.mark.parametrize("name", CASES)
def test_the_second_derivative_by_the_power(name, dtype):
    ours, exact, points = CASES[name]
    first = torch.func.grad(lambda *a: ours(*a).sum())
    with mpmath.workdps(200):
        # They are of the order of x^3, out of reach of a reference by differences for the least x.
        bends = {p: mpmath.diff(exact, p, (2, 0)) for p in points if p[1] > 1e-10}
        assert_exact(torch.func.grad(lambda *a: first(*a).sum()), bends, dtype)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_composition_and_nan(name):
    ours, _, _ = CASES[name]
    power = torch.tensor([-0.7, 0.0, 0.2, 2.0], dtype=torch.float64)
    x = torch.tensor([0.6, 0.8, 1.3, 2.5], dtype=torch.float64)
    assert_differentiable(ours, power, x)
    assert_composes(ours, power, x)
    assert_nan_in_nan_out(ours, power, x)


def test_each_undoes_the_other():
    power = torch.tensor([-0.3, 0.0, 1e-9, 0.8], dtype=torch.float64)
    x = torch.tensor([[1e-12], [0.5], [2.0]], dtype=torch.float64)
    torch.testing.assert_close(expm1_over(power, log1p_over(power, x)), x.expand(3, 4), rtol=1e-14, atol=0)


def test_ends():
    assert float(log1p_over(torch.tensor(-0.5), 2.0)) == math.inf
    assert bool(log1p_over(torch.tensor(-0.5), 2.1).isnan())
    assert expm1_over(torch.tensor([-0.5, 0.0, 0.5]), math.inf).tolist() == [2.0, math.inf, math.inf]


@pytest.mark.parametrize("name", CASES)
def test_a_third_derivative_by_the_power_is_refused(name):
    ours = CASES[name][0]
    power = torch.tensor(0.5, requires_grad=True)
    (first,) = torch.autograd.grad(ours(power, 1.0), power, create_graph=True)
    (second,) = torch.autograd.grad(first, power, create_graph=True)
    with pytest.raises(NotImplementedError, match="two derivatives in their power; a third was asked for"):
        torch.autograd.grad(second, power)


def test_the_inverse_keeps_its_digits_under_inductor():
    power = torch.tensor([-1e-3, -1e-12, 1e-20, 1e-7, 0.1], dtype=torch.float64)
    y = torch.full_like(power, 1e-3)
    torch.compiler.reset()
    compiled = torch.compile(expm1_over, fullgraph=True)(power, y)
    # A few roundings more or less than eagerly: as 1 less than e^(power y), the second would be off by a half.
    torch.testing.assert_close(compiled, expm1_over(power, y), rtol=8 * torch.finfo(y.dtype).eps, atol=0)
