"""The normal's tails against mpmath."""

import math

import mpmath
import pytest
import torch

from posterity.kernels import log_diff_ndtr, log_ndtr, mills_ratio, ndtr, ndtri, ndtri_exp
from posterity.kernels.normal_tails import _hazard_excess
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
POINTS = [single(x) for x in (-37, -20, -13, -8, -5.5, -3.01, -2.99, -1.01, -0.99, -0.1, 0, 1e-6, 0.7, 2, 5, 9, 13, 30)]
LEVELS = [single(p) for p in (1e-30, 1e-10, 1e-3, 0.1, 0.3, 0.4999, 0.5001, 0.7, 0.99, 0.99999)]
# From deep in the lower tail, by the zero at log 1/2, to probabilities whose complement is as deep.
LOG_LEVELS = [single(p) for p in (-1e4, -700, -50, -3, -1.001, -0.999, -0.8, -0.694, -0.693, -0.6, -0.1, -1e-3, -1e-30)]
# Widths from where the ends' probabilities agree in all but their last digits to where one is nothing to the other.
INTERVALS = [
    (single(low), single(low + width))
    for low in (-35.0, -12.0, -8.5, -3.0, -1.0, -0.3, 0.0, 0.2, 2.0, 11.0)
    for width in (2.0**-16, 2.0**-8, 0.1, 0.5, 1.5, 2.5, 8.0, 30.0)
]


def normal_between(low, high):
    """The exact probability, from the tail that holds no cancellation."""
    low, high = mpmath.mpf(low), mpmath.mpf(high)
    return mpmath.ncdf(high) - mpmath.ncdf(low) if low + high < 0 else mpmath.ncdf(-low) - mpmath.ncdf(-high)


def test_spacing_of_narrow_intervals_is_exact_in_both_dtypes():
    assert all(low < high for low, high in INTERVALS)


@both_dtypes
def test_probabilities_and_their_logarithms(dtype):
    with mpmath.workdps(320):
        lower = {x: mpmath.ncdf(x) for x in POINTS}
        assert_exact(ndtr, {(x,): p for x, p in lower.items()}, dtype)
        assert_exact(log_ndtr, {(x,): mpmath.log1p(-mpmath.ncdf(-x)) for x in lower}, dtype)
        assert_exact(mills_ratio, {(x,): mpmath.ncdf(-x) / mpmath.npdf(x) for x in POINTS}, dtype)
        assert_exact(log_ndtr, {(-1e6,): mpmath.mpf("-500000000014.734449091168816")}, dtype)


@both_dtypes
def test_quantiles(dtype):
    with mpmath.workdps(60):
        quantiles = {(p,): mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1) for p in LEVELS}
        assert_exact(ndtri, quantiles, dtype)
        quantiles = {}
        for level in LOG_LEVELS:
            exact = mpmath.mpf(level)
            start = float(ndtri_exp(torch.tensor(level, dtype=torch.float64)))
            if level > -1:
                quantiles[(level,)] = mpmath.findroot(lambda z, e=exact: mpmath.ncdf(-z) + mpmath.expm1(e), start)
            else:
                quantiles[(level,)] = mpmath.findroot(lambda z, e=exact: mpmath.log(mpmath.ncdf(z)) - e, start)
    assert_exact(ndtri_exp, quantiles, dtype)


def test_quantiles_of_log_probabilities_at_the_range_of_floats():
    # The asymptotic quantile is -sqrt(-2 log p), relatively exact to log(log p) / log p.
    for dtype, level in ((torch.float64, -1e300), (torch.float32, -1e38)):
        x = ndtri_exp(torch.tensor(level, dtype=dtype))
        assert float(x) == pytest.approx(-math.sqrt(-2 * level), rel=8 * torch.finfo(dtype).eps)
    assert float(ndtri_exp(torch.tensor(-1e-300, dtype=torch.float64))) == pytest.approx(37.0470962993612, rel=1e-14)


@both_dtypes
def test_log_probabilities_of_intervals_and_their_gradients(dtype):
    with mpmath.workdps(320):
        mass = {(a, b): normal_between(a, b) for a, b in INTERVALS}
        assert_exact(log_diff_ndtr, {ends: mpmath.log(m) for ends, m in mass.items()}, dtype)
        for place, sign in ((0, -1), (1, 1)):
            slope = torch.func.grad(lambda a, b: log_diff_ndtr(a, b).sum(), argnums=place)
            assert_exact(slope, {ends: sign * mpmath.npdf(ends[place]) / m for ends, m in mass.items()}, dtype)


@both_dtypes
def test_second_derivatives_keep_their_digits_in_the_tail(dtype):
    def curvature(x):
        return torch.func.jvp(torch.func.grad(lambda x: log_ndtr(x).sum()), (x,), (torch.ones_like(x),))[1]

    exact = {}
    with mpmath.workdps(320):
        for x in POINTS[:-2]:
            hazard = mpmath.npdf(x) / mpmath.ncdf(x)
            exact[(x,)] = -hazard * (x + hazard)
    assert_exact(curvature, exact, dtype)


SMOOTH = {
    ndtr: [torch.tensor([-3.0, -0.5, 2.0])],
    log_ndtr: [torch.tensor([-30.0, -3.5, -0.5, 4.0])],
    mills_ratio: [torch.tensor([-2.0, 0.5, 3.2, 20.0])],
    ndtri: [torch.tensor([0.01, 0.4, 0.9])],
    ndtri_exp: [torch.tensor([-40.0, -1.2, -0.7, -0.1])],
    log_diff_ndtr: [
        torch.tensor([-30.0, -2.0, -1.0, 0.5, 4.0, 4.0]),
        torch.tensor([-29.9, 3.0, -0.9, 2.0, 4.1, 7.0]),
    ],
}


@pytest.mark.parametrize("function", SMOOTH)
def test_derivatives_composition_and_nan(function):
    arguments = [a.double() for a in SMOOTH[function]]
    assert_differentiable(function, *arguments)
    assert_composes(function, *arguments)
    assert_nan_in_nan_out(function, *arguments)


@both_dtypes
def test_the_hazard_and_its_argument_add_up_without_cancellation(dtype):
    exact = {}
    with mpmath.workdps(60):
        for x in (single(x) for x in (-2.0, -2.9, -3.0, -3.1, -3.49, -3.51, -4.0, -8.0, -50.0)):
            exact[(x,)] = mpmath.npdf(x) / mpmath.ncdf(x) + x
    # Where the fraction takes over, at -3.5, the sum of the two loses a factor of 14, and the hazard is good to 4 eps.
    assert_exact(_hazard_excess, exact, dtype, promised=60 * torch.finfo(dtype).eps)


def test_graphs_of_quantiles_of_log_probabilities_hold_no_expm1():
    """Inductor would subtract 1 from an exponential: next to 0, and to log 1/2, nothing would be left."""
    log_p = torch.tensor([-1e-300, -1e-15, -1e-8, -0.01, -0.7, math.log(0.5) + 1e-9], dtype=torch.float64)
    graph = torch.fx.experimental.proxy_tensor.make_fx(ndtri_exp, tracing_mode="fake")(log_p)
    assert "erfinv" in graph.code
    assert "expm1" not in graph.code
    torch.testing.assert_close(graph(log_p), ndtri_exp(log_p), rtol=1e-12, atol=0)


def test_agrees_under_inductor():
    low, high = (a.double() for a in SMOOTH[log_diff_ndtr])
    torch.compiler.reset()
    compiled = torch.compile(log_diff_ndtr, fullgraph=True)(low, high)
    torch.testing.assert_close(compiled, log_diff_ndtr(low, high), rtol=1e-12, atol=0)


@both_dtypes
def test_ends(dtype):
    ends = torch.tensor([-INF, INF], dtype=dtype)
    assert ndtr(ends).tolist() == [0, 1]
    assert log_ndtr(ends).tolist() == [-INF, 0]
    assert mills_ratio(ends).tolist() == [INF, 0]
    assert ndtri(torch.tensor([0.0, 1.0], dtype=dtype)).tolist() == [-INF, INF]
    assert ndtri_exp(torch.tensor([-INF, 0.0], dtype=dtype)).tolist() == [-INF, INF]
    assert bool(ndtri(torch.tensor([-0.1, 1.1], dtype=dtype)).isnan().all())
    assert bool(ndtri_exp(torch.tensor([0.1, 2.0], dtype=dtype)).isnan().all())
    assert log_diff_ndtr(-ends[1:], ends[1:]).tolist() == [0]
    assert log_diff_ndtr(ends, ends).tolist() == [-INF, -INF]
    assert bool(log_diff_ndtr(ends[1:], ends[:1]).isnan())
    x = torch.tensor([-20.0, -1.0, 3.0], dtype=dtype)
    torch.testing.assert_close(log_diff_ndtr(-INF, x), log_ndtr(x))
    torch.testing.assert_close(log_diff_ndtr(x, INF), log_ndtr(-x))
    for function in (ndtr, log_ndtr, mills_ratio):
        assert_no_nan(function, [(x,) for x in (-INF, -1e20, -200, 0, 200, 1e20, INF)], dtype)
    assert_no_nan(ndtri, [(0,), (1e-37,), (0.5,), (1,)], dtype)
    assert_no_nan(ndtri_exp, [(-INF,), (-1e30,), (-1e-30,), (0,)], dtype)
    pairs = [(-INF, INF), (-INF, -INF), (INF, INF), (-INF, -50), (60, INF), (1, 1), (-INF, 2), (-1e4, 1e4), (50, 51)]
    assert_no_nan(log_diff_ndtr, pairs, dtype)
