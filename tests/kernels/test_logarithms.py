"""Logarithms of differences of exponentials against mpmath."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F

from posterity.kernels import log1mexp, log_expm1, logsubexp
from posterity.kernels.logarithms import log_growth
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
POINTS = [single(x) for x in (1e-30, 1e-10, 1e-3, 0.1, 0.49, 0.5, 0.6931, 0.6932, 0.7, 0.88, 0.9, 1, 3, 17, 40, 80)]


@both_dtypes
def test_exact_values(dtype):
    with mpmath.workdps(60):
        assert_exact(log1mexp, {(x,): mpmath.log1p(-mpmath.exp(-mpmath.mpf(x))) for x in POINTS}, dtype)
        assert_exact(log_expm1, {(x,): mpmath.log(mpmath.expm1(mpmath.mpf(x))) for x in POINTS}, dtype)
        # Starting values 2^k, from which the differences are exact.
        pairs = [(a, a - 2.0**-k) for a in (-256.0, -2.0, 4.0, 512.0) for k in (-6, 0, 2, 10, 14)]
        exact = {(a, b): a + mpmath.log1p(-mpmath.exp(mpmath.mpf(b) - a)) for a, b in pairs}
        assert_exact(logsubexp, exact, dtype)
        growths = [
            (1, 1),
            (1 + 2.0**-20, 1),
            (1.5, 1),
            (2, 1),
            (2 + 2.0**-20, 1),
            (3e38, 1e-30),
            (7e-30, single(3e-30)),
        ]
        pairs_of_growth = [(single(x), single(start)) for x, start in growths]
        assert_exact(log_growth, {p: mpmath.log(mpmath.mpf(p[0]) / p[1]) for p in pairs_of_growth}, dtype)
        exact = {(a, b): -1 / mpmath.expm1(mpmath.mpf(b) - a) for a, b in pairs}
        assert_exact(torch.func.grad(lambda a, b: logsubexp(a, b).sum()), exact, dtype)


def test_log_expm1_inverts_softplus():
    x = torch.tensor([-600.0, -20.0, -1.0, 0.0, 2.0, 30.0], dtype=torch.float64)
    # torch's softplus turns into the identity above its threshold, 20, where they differ by 2e-9.
    torch.testing.assert_close(log_expm1(F.softplus(x, threshold=100)), x, rtol=1e-14, atol=1e-15)


SMOOTH = {
    log1mexp: [torch.tensor([0.01, 0.6, 0.8, 5.0])],
    log_expm1: [torch.tensor([0.01, 0.6, 0.8, 5.0])],
    log_growth: [torch.tensor([1.001, 2.5, 8.0]), torch.tensor([1.0, 2.0, 0.3])],
    logsubexp: [torch.tensor([0.01, 3.0, -4.0]), torch.tensor([0.0, -3.0, -5.0])],
}


@pytest.mark.parametrize("function", SMOOTH)
def test_derivatives_composition_and_nan(function):
    arguments = [a.double() for a in SMOOTH[function]]
    assert_differentiable(function, *arguments)
    assert_composes(function, *arguments)
    assert_nan_in_nan_out(function, *arguments)


@both_dtypes
def test_ends(dtype):
    x = torch.tensor([0.0, INF, -1.0], dtype=dtype)
    assert log1mexp(x)[:2].tolist() == [-INF, 0]
    assert log_expm1(x)[:2].tolist() == [-INF, INF]
    assert bool(log1mexp(x)[2].isnan())
    assert bool(log_expm1(x)[2].isnan())
    a = torch.tensor([2.0, 2.0, -INF, INF, 1.0], dtype=dtype)
    b = torch.tensor([2.0, -INF, -INF, 5.0, 2.0], dtype=dtype)
    assert logsubexp(a, b)[:4].tolist() == [-INF, 2, -INF, INF]
    assert bool(logsubexp(a, b)[4].isnan())
    for function in (log1mexp, log_expm1):
        assert_no_nan(function, [(0,), (1e-38,), (100,), (INF,)], dtype)
    assert_no_nan(logsubexp, [(2, 2), (2, -INF), (-INF, -INF), (INF, 5), (INF, -INF), (1e30, -1e30)], dtype)


def test_gradients_at_the_ends():
    a, b = torch.tensor([2.0, 2.0, -INF], requires_grad=True), torch.tensor([2.0, -INF, -INF], requires_grad=True)
    by_a, by_b = torch.autograd.grad(logsubexp(a, b).sum(), (a, b))
    # Subtracting nothing leaves the identity.
    assert by_a.tolist() == [INF, 1, 1]
    assert by_b.tolist() == [-INF, 0, 0]
