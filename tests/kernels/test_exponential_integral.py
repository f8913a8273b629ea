"""The scaled exponential integral against mpmath, from its pole to where it underflows."""

import math

import mpmath
import pytest
import torch

from posterity.kernels.exponential_integral import exp1e, log_exp1e
from tests.kernels.special_checks import (
    assert_composes,
    assert_differentiable,
    assert_exact,
    assert_nan_in_nan_out,
    both_dtypes,
    single,
)

# 1.25 is where the power series hands over to the continued fraction.
POINTS = [1e-30, 1e-10, 1e-3, 0.1, 0.5, 1.0, 1.2, 1.249, 1.251, 1.4, 2.0, 5.0, 20.0, 100.0, 1e3]


@both_dtypes
def test_values_and_derivatives(dtype):
    with mpmath.workdps(60):
        values = {(single(x),): mpmath.exp(single(x)) * mpmath.e1(single(x)) for x in POINTS}
        assert_exact(exp1e, values, dtype)
        assert_exact(log_exp1e, {x: mpmath.log(v) for x, v in values.items()}, dtype)
        first = torch.func.grad(lambda x: exp1e(x).sum())
        slopes = {x: v - 1 / mpmath.mpf(x[0]) for x, v in values.items()}
        assert_exact(first, slopes, dtype)
        curvatures = {x: v + 1 / mpmath.mpf(x[0]) ** 2 for x, v in slopes.items()}
        assert_exact(torch.func.grad(lambda x: first(x).sum()), curvatures, dtype)


@pytest.mark.parametrize("function", [exp1e, log_exp1e])
def test_derivatives_composition_and_nan(function):
    x = torch.tensor([0.3, 1.3, 40.0], dtype=torch.float64)
    assert_differentiable(function, x)
    assert_composes(function, x)
    assert_nan_in_nan_out(function, x)


def test_ends():
    assert exp1e(torch.tensor([0.0, math.inf])).tolist() == [math.inf, 0.0]
    assert bool(exp1e(torch.tensor(-1.0)).isnan())


def test_a_third_derivative_is_refused():
    x = torch.tensor(0.5, requires_grad=True)
    (first,) = torch.autograd.grad(exp1e(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, create_graph=True)
    with pytest.raises(NotImplementedError, match="two derivatives; a third was asked for"):
        torch.autograd.grad(second, x)
