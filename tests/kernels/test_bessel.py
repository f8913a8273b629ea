"""Modified Bessel functions and their ratios against mpmath."""

import math

import mpmath
import pytest
import torch

from posterity.kernels import bessel_ratio, bessel_ratio_complement, bessel_ratio_inverse, ive, log_ive
from posterity.kernels.bessel import bessel_ratio_slope
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
ORDERS = [single(v) for v in (0, 0.3, 0.5, 1, 1.5, 3.3, 7.9, 9.9, 10.1, 24.9, 25.1, 40, 300.5, 1e4)]
# On both sides of where the expansions take over, 10 and 25, and far beyond.
ARGUMENTS = [single(x) for x in (1e-8, 0.3, 2, 7, 9.9, 10.1, 20, 24.9, 25.1, 60, 1e3, 1e5, 1e8)]


@pytest.fixture(scope="module")
def exact():
    """(order, x) to e^-x I_order, the ratio of the next order's to it, and that of the one after to the next."""
    table = {}
    with mpmath.workdps(50):
        for order in ORDERS:
            # mpmath's series are slow where both are large.
            for x in ARGUMENTS if order < 100 else [x for x in ARGUMENTS if x <= 1e3]:
                values = [mpmath.besseli(order + k, x, maxterms=10**6) for k in (0, 1)]
                table[order, x] = values[0] * mpmath.exp(-mpmath.mpf(x)), values[1] / values[0]
    return table


@both_dtypes
def test_scaled_functions(exact, dtype):
    with mpmath.workdps(50):
        assert_exact(ive, {p: value for p, (value, _) in exact.items()}, dtype)
        assert_exact(log_ive, {p: mpmath.log(value) for p, (value, _) in exact.items()}, dtype)
        slope = torch.func.grad(lambda x, order: log_ive(order, x).sum())
        table = {(x, v): ratio + mpmath.mpf(v) / x - 1 for (v, x), (_, ratio) in exact.items()}
        assert_exact(slope, table, dtype)


@both_dtypes
def test_ratios_and_their_slopes(exact, dtype):
    with mpmath.workdps(50):
        ratios = {(v + 1, x): ratio for (v, x), (_, ratio) in exact.items() if single(v + 1) == v + 1}
        assert_exact(bessel_ratio, ratios, dtype)
        assert_exact(bessel_ratio_complement, {p: 1 - ratio for p, ratio in ratios.items()}, dtype)
        slopes = {(v, x): 1 - r * r - (2 * mpmath.mpf(v) - 1) / x * r for (v, x), r in ratios.items()}
        assert_exact(bessel_ratio_slope, slopes, dtype)


@both_dtypes
def test_large_orders_and_arguments_satisfy_the_recurrence(dtype):
    order = torch.tensor([300.0, 1e4, 1e6], dtype=dtype)[:, None]
    x = torch.tensor([1e4, 1e6, 1e8], dtype=dtype)
    # I_{v-1} - I_{v+1} = 2 v / x I_v (DLMF 10.29.1), over I_v and with one minus the ratios.
    here, above = bessel_ratio_complement(order, x), bessel_ratio_complement(order + 1, x)
    left = here / bessel_ratio(order, x) + above
    torch.testing.assert_close(left, 2 * order / x, rtol=16 * torch.finfo(dtype).eps, atol=0)


def test_the_ratio_of_order_three_halves_is_the_langevin_function():
    x = torch.tensor([0.5, 5.0, 500.0], dtype=torch.float64)
    torch.testing.assert_close(bessel_ratio(1.5, x), 1 / x.tanh() - 1 / x, rtol=1e-13, atol=0)


@both_dtypes
def test_inverse_ratio(dtype):
    order = torch.tensor([1.0, 1.5, 8.0, 500.0, 1e4], dtype=dtype)[:, None]
    eps = torch.finfo(dtype).eps
    ratio = torch.tensor([1e-20, 1e-3, 0.2, 0.5, 0.8, 0.99, 1 - 64 * eps], dtype=dtype)
    x = bessel_ratio_inverse(order, ratio)
    tolerance = 2e-11 if dtype == torch.float64 else 4e-6
    torch.testing.assert_close(bessel_ratio(order, x), ratio.expand_as(x), rtol=tolerance, atol=0)
    torch.testing.assert_close(bessel_ratio_complement(order, x), (1 - ratio).expand_as(x), rtol=tolerance, atol=0)


def at_order(function, order):
    return lambda x: function(torch.full_like(x, order), x)


@pytest.mark.parametrize("order", [1.0, 2.5, 30.0])
@pytest.mark.parametrize("function", [ive, log_ive, bessel_ratio, bessel_ratio_complement])
def test_derivatives(function, order):
    assert_differentiable(at_order(function, order), torch.tensor([0.3, 4.0, 24.0, 40.0], dtype=torch.float64))


def test_derivatives_at_fractional_orders_and_of_the_inverse():
    for order in (0.0, 0.4):
        assert_differentiable(at_order(ive, order), torch.tensor([0.3, 4.0, 40.0], dtype=torch.float64))
    assert_differentiable(at_order(bessel_ratio_inverse, 1.5), torch.tensor([0.01, 0.3, 0.9], dtype=torch.float64))


@both_dtypes
def test_second_derivatives_at_large_arguments(dtype):
    # The leading terms of DLMF 10.40.1: e^-x I_0(x) is near (2 pi x)^(-1/2), relatively to 1 / x.
    def curvature(x):
        return torch.func.grad(torch.func.grad(at_order(ive, 0.0)))(x)

    x = torch.tensor(1e6, dtype=dtype)
    expected = 0.75 * (2 * math.pi) ** -0.5 * 1e6**-2.5
    assert float(curvature(x)) == pytest.approx(expected, rel=2e-6 if dtype == torch.float64 else 2e-5)


def test_composition_and_nan():
    order, x = torch.tensor([1.0, 2.5, 30.0]).double(), torch.tensor([0.4, 0.9, 0.2]).double()
    for function in (ive, log_ive, bessel_ratio, bessel_ratio_complement, bessel_ratio_inverse):
        assert_nan_in_nan_out(function, order, x)
    for function in (log_ive, bessel_ratio):
        assert_composes(lambda x, function=function: function(1.5, x), x)
    mapped = torch.vmap(lambda r: bessel_ratio_inverse(1.5, r))(x)
    torch.testing.assert_close(mapped, bessel_ratio_inverse(1.5, x), rtol=1e-13, atol=0)


@both_dtypes
def test_ends(dtype):
    x = torch.tensor([0.0, INF, -1.0], dtype=dtype)
    assert ive(0.0, x)[:2].tolist() == [1, 0]
    assert ive(2.0, x)[:2].tolist() == [0, 0]
    assert log_ive(0.5, x)[:2].tolist() == [-INF, -INF]
    assert bessel_ratio(1.0, x)[:2].tolist() == [0, 1]
    assert bessel_ratio_complement(1.0, x)[:2].tolist() == [1, 0]
    assert bessel_ratio_inverse(3.0, torch.tensor([0.0, 1.0], dtype=dtype)).tolist() == [0, INF]
    for function in (ive, log_ive, bessel_ratio, bessel_ratio_complement, bessel_ratio_inverse):
        assert bool(function(1.0, x)[2].isnan())
        assert bool(function(-0.5, x[:1]).isnan())
    arguments = (0, 1e-30, 1e-3, 1, 1e8, 1e30, INF)
    points = [(v, x) for v in (0, 0.5, 1, 1.5, 2, 3, 30, 1e4) for x in arguments]
    for function in (ive, log_ive):
        assert_no_nan(function, points, dtype, fixed=1)
    for function in (bessel_ratio, bessel_ratio_complement):
        assert_no_nan(function, [(v, x) for v, x in points if v >= 1], dtype, fixed=1)
    points = [(v, r) for v in (1, 1.5, 50, 1e4) for r in (0, 1e-20, 0.5, 0.99, 1)]
    assert_no_nan(bessel_ratio_inverse, points, dtype, fixed=1)


def test_slopes_at_zero_are_those_of_the_power_series():
    def slopes(order):
        first = torch.func.grad(at_order(ive, order))
        zero = torch.tensor(0.0, dtype=torch.float64)
        return float(first(zero)), float(torch.func.grad(first)(zero))

    assert slopes(0.0) == (-1, 1.5)
    assert slopes(0.5) == (INF, -INF)
    assert slopes(1.0) == (0.5, -1)
    assert slopes(1.5) == (0, INF)
    assert slopes(2.0) == (0, 0.25)
    assert slopes(3.0) == (0, 0)


@pytest.mark.parametrize("function", [ive, log_ive, bessel_ratio])
def test_half_precision_is_refused(function):
    with pytest.raises(TypeError, match=r"float32 and float64, but got torch.float16; use"):
        function(torch.tensor(1.0, dtype=torch.float16), 2.0)
