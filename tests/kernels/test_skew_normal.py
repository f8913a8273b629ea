"""The skew normal's probabilities against mpmath, in both tails."""

import math

import mpmath
import pytest
import torch

from posterity.kernels import log_ndtr, ndtr, skew_normal_cdf, skew_normal_log_cdf
from tests.kernels.special_checks import (
    assert_composes,
    assert_differentiable,
    assert_exact,
    assert_nan_in_nan_out,
    assert_no_nan,
    both_dtypes,
    single,
)

INF = math.inf
POINTS = [single(x) for x in (-30, -8, -3, -1, -0.2, -0.01)]
SHAPES = [single(a) for a in (-50, -1.2, -0.3, 0.01, 0.3, 0.9, 1.2, 5, 100)]


@pytest.fixture(scope="module")
def exact():
    """(x, shape) to the probabilities below and above x: the density's integral, taken over the lower tail."""
    table = {}
    with mpmath.workdps(25):
        for x in POINTS:
            for shape in SHAPES:
                # To where the density has lost e^-60: its exponent is -t^2 (1 + shape^2) / 2 in the light tail.
                fall = 1 + max(shape, 0) ** 2
                reach = 120 / (math.sqrt((fall * x) ** 2 + 120 * fall) - fall * x)
                cuts = [x - reach * part for part in (1, 0.4, 0.15, 0.04, 0)]
                # In units of the value at x: mpmath's quadrature stops at an absolute error.
                slant = mpmath.mpf(shape)
                unit = 2 * mpmath.npdf(x) * mpmath.ncdf(slant * x)
                relative = mpmath.quad(
                    lambda t, a=slant, unit=unit: 2 * mpmath.npdf(t) * mpmath.ncdf(a * t) / unit, cuts
                )
                below = unit * relative
                table[x, shape] = below, 1 - below
                table[-x, -shape] = 1 - below, below
    return table


@both_dtypes
def test_probabilities_and_gradients(exact, dtype):
    assert_exact(skew_normal_cdf, {p: below for p, (below, _) in exact.items()}, dtype)
    with mpmath.workdps(25):
        logs = {p: mpmath.log(b) if b < 0.5 else mpmath.log1p(-a) for p, (b, a) in exact.items()}
        assert_exact(skew_normal_log_cdf, logs, dtype)
        by_x, by_shape = {}, {}
        for (x, shape), (below, _) in exact.items():
            outer = mpmath.mpf(x) * shape
            by_x[x, shape] = 2 * mpmath.npdf(x) * mpmath.ncdf(outer) / below
            corner = mpmath.npdf(x) * mpmath.npdf(outer) / (1 + mpmath.mpf(shape) ** 2)
            by_shape[x, shape] = -2 * corner / below
    for place, table in enumerate((by_x, by_shape)):
        slope = torch.func.grad(lambda x, a: skew_normal_log_cdf(x, a).sum(), argnums=place)
        assert_exact(slope, table, dtype)


@both_dtypes
def test_special_shapes_and_ends(dtype):
    x = torch.tensor([-6.0, -0.5, 0.0, 2.0], dtype=dtype)
    torch.testing.assert_close(skew_normal_log_cdf(x, 0.0), log_ndtr(x))
    torch.testing.assert_close(skew_normal_cdf(x, 1.0), ndtr(x).square())
    torch.testing.assert_close(skew_normal_cdf(x, INF), (ndtr(x) - ndtr(-x)).clamp(min=0))
    assert skew_normal_cdf(torch.tensor([-INF, INF], dtype=dtype), 2.0).tolist() == [0, 1]
    assert skew_normal_log_cdf(torch.tensor([-INF, INF], dtype=dtype), 2.0).tolist() == [-INF, 0]
    points = [(x, a) for x in (-INF, -1e6, -1, 0, 1, 1e6, INF) for a in (-INF, -1, 0, 2, INF)]
    for function in (skew_normal_cdf, skew_normal_log_cdf):
        assert_no_nan(function, points, dtype)


@pytest.mark.parametrize("function", [skew_normal_cdf, skew_normal_log_cdf])
def test_derivatives_composition_and_nan(function):
    x = torch.tensor([-3.0, -0.4, 0.4, 1.0, -2.0], dtype=torch.float64)
    shape = torch.tensor([2.0, 1.5, -0.7, 3.0, -1.0], dtype=torch.float64)
    assert_differentiable(function, x, shape)
    assert_composes(function, x, shape)
    assert_nan_in_nan_out(function, x, shape)
