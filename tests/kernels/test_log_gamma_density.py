"""The log density of the gamma distribution against mpmath, where its large terms cancel and at its ends."""

import math

import mpmath
import torch

from posterity.kernels.log_gamma_density import log_gamma_density
from tests.kernels.special_checks import (
    assert_composes,
    assert_differentiable,
    assert_exact,
    assert_nan_in_nan_out,
    both_dtypes,
    single,
)

PAIRS = [(a, a * r) for a in (0.01, 0.7, 1.0, 2.5, 30.0, 1e4, 1e8) for r in (1e-6, 0.5, 0.999, 1.001, 3.0)]


def exact(a, x):
    return (a - 1) * mpmath.log(x) - x - mpmath.loggamma(a)


@both_dtypes
def test_values_and_slopes(dtype):
    points = [(single(a), single(x)) for a, x in PAIRS]
    with mpmath.workdps(50):
        values = {p: exact(*map(mpmath.mpf, p)) for p in points}
        # Where the density is near 1 its logarithm is small by cancellation that no computation undoes.
        assert_exact(log_gamma_density, {p: v for p, v in values.items() if abs(v) > 0.1}, dtype)
        by_a = {p: mpmath.log(p[1]) - mpmath.digamma(p[0]) for p in points}
        # Near its zero at x = a the slope, too, is a difference.
        by_a = {p: v for p, v in by_a.items() if abs(p[1] / p[0] - 1) > 0.01}
        assert_exact(torch.func.grad(lambda *p: log_gamma_density(*p).sum()), by_a, dtype)
        by_x = {(a, x): (mpmath.mpf(a) - 1) / x - 1 for a, x in points if abs((a - 1) / x - 1) > 0.01}
        assert_exact(torch.func.grad(lambda *p: log_gamma_density(*p).sum(), argnums=1), by_x, dtype)


def test_derivatives_composition_and_nan():
    a = torch.tensor([0.3, 2.5, 40.0], dtype=torch.float64)
    x = torch.tensor([0.1, 4.0, 35.0], dtype=torch.float64)
    assert_differentiable(log_gamma_density, a, x)
    assert_composes(log_gamma_density, a, x)
    assert_nan_in_nan_out(log_gamma_density, a, x)


def test_ends():
    a = torch.tensor([0.5, 1.0, 2.0])
    assert log_gamma_density(a, torch.zeros(3)).tolist() == [math.inf, 0.0, -math.inf]
    assert log_gamma_density(a, torch.full((3,), math.inf)).tolist() == [-math.inf] * 3
    assert bool(log_gamma_density(a, torch.tensor(-1.0)).isnan().all())
    assert bool(log_gamma_density(torch.tensor(-1.0), torch.tensor(1.0)).isnan())
