"""What is left of gamma functions beside Stirling's formula, against mpmath, up to where nothing is left."""

import mpmath
import pytest
import torch

from posterity.kernels.stirling import lgamma_excess, log_minus_digamma, stirling_error, trigamma_excess
from tests.kernels.special_checks import assert_composes, assert_differentiable, assert_exact, both_dtypes, single

# 8 is where torch's functions hand over to the asymptotic series.
POINTS = [1e-6, 0.1, 0.5, 1.0, 2.0, 7.99, 8.01, 30.0, 1e3, 1e6, 1e12, 1e25]


def exact_stirling_error(x):
    return mpmath.loggamma(x) - ((x - mpmath.mpf("0.5")) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2)


def exact_excess(p, q):
    return mpmath.loggamma(q) - mpmath.loggamma(p) - (q - p) * mpmath.digamma(p)


FUNCTIONS = {
    "stirling_error": (stirling_error, exact_stirling_error),
    "log_minus_digamma": (log_minus_digamma, lambda x: mpmath.log(x) - mpmath.digamma(x)),
    "trigamma_excess": (trigamma_excess, lambda x: mpmath.psi(1, x) - 1 / mpmath.mpf(x)),
}


@both_dtypes
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name, dtype):
    ours, exact = FUNCTIONS[name]
    with mpmath.workdps(90):
        # Below the series the closed form cancels, by up to 8 log 8 / stirling_error(8), a factor of 1600.
        promised = 2**12 * torch.finfo(dtype).eps
        assert_exact(ours, {(single(x),): exact(mpmath.mpf(single(x))) for x in POINTS}, dtype, promised)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_and_composition(name):
    ours, _ = FUNCTIONS[name]
    x = torch.tensor([0.4, 3.0, 9.0], dtype=torch.float64)
    assert_differentiable(ours, x)
    assert_composes(ours, x)
    assert bool(ours(torch.tensor(torch.nan)).isnan())


def test_the_slope_of_log_minus_digamma_keeps_its_digits_for_large_arguments():
    with mpmath.workdps(90):
        slopes = {(x,): 1 / mpmath.mpf(x) - mpmath.psi(1, x) for x in (9.0, 1e4, 1e8, 1e15)}
        each = torch.func.grad(lambda x: log_minus_digamma(x).sum())
        assert_exact(each, slopes, torch.float64, 1e-13)


@both_dtypes
def test_lgamma_excess(dtype):
    with mpmath.workdps(60):
        pairs = [(0.3, 2.0), (2.0, 0.3), (5.0, 5.5), (40.0, 90.0), (1e4, 1.1e4), (1e6, 1e6 + 1e3)]
        table = {(single(p), single(q)): exact_excess(single(p), single(q)) for p, q in pairs}
        # The last pair leaves one half of two terms of the size of their distance, 1e3.
        promised = 2**13 * torch.finfo(dtype).eps
        assert_exact(lgamma_excess, table, dtype, promised)


def test_lgamma_excess_is_zero_where_the_tangent_touches_and_differentiable():
    p = torch.tensor([0.3, 4.0, 1e5], dtype=torch.float64)
    assert lgamma_excess(p, p).tolist() == [0.0, 0.0, 0.0]
    assert_differentiable(lgamma_excess, p[:2], torch.tensor([0.5, 3.0], dtype=torch.float64))
