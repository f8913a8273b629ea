"""The upper tail of the horseshoe distribution against its integral in mpmath."""

import math

import mpmath
import torch

from posterity.kernels.horseshoe_tail import horseshoe_tail
from tests.kernels.special_checks import (
    assert_composes,
    assert_differentiable,
    assert_exact,
    assert_nan_in_nan_out,
    both_dtypes,
    single,
)

POINTS = [1e-25, 1e-8, 1e-3, 0.2, 1.0, 3.0, 40.0, 1e4, 1e15]
INTEGRATED = [0.0, 1e-30, 1e-20, 1e-10, 1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 8.0, mpmath.inf]


def exact(x):
    """By the complement of the angle where x is small, so that the rest is no difference."""
    if x < 1:
        density = mpmath.quad(lambda s: mpmath.npdf(s) * mpmath.atan(x / s), INTEGRATED)
        return mpmath.mpf("0.5") - 2 / mpmath.pi * density
    return 2 / mpmath.pi * mpmath.quad(lambda s: mpmath.npdf(s) * mpmath.atan(s / x), INTEGRATED)


@both_dtypes
def test_values_and_slopes(dtype):
    with mpmath.workdps(30):
        points = [single(x) for x in POINTS]
        assert_exact(horseshoe_tail, {(x,): exact(mpmath.mpf(x)) for x in points}, dtype)
        moderate = [mpmath.mpf(x) for x in points if 1e-10 < x < 1e3]
        densities = {
            (float(x),): -mpmath.exp(x**2 / 2) * mpmath.e1(x**2 / 2) / mpmath.sqrt(2 * mpmath.pi**3) for x in moderate
        }
        assert_exact(torch.func.grad(lambda x: horseshoe_tail(x).sum()), densities, dtype)


def test_derivatives_composition_and_nan():
    x = torch.tensor([0.2, 1.5, 6.0], dtype=torch.float64)
    assert_differentiable(horseshoe_tail, x)
    assert_composes(horseshoe_tail, x)
    assert_nan_in_nan_out(horseshoe_tail, x)


@both_dtypes
def test_ends(dtype):
    ends = horseshoe_tail(torch.tensor([0.0, math.inf], dtype=dtype))
    # A sum of some 300 rounded terms.
    assert abs(float(ends[0]) - 0.5) <= 10 * torch.finfo(dtype).eps
    assert float(ends[1]) == 0.0
    assert bool(horseshoe_tail(torch.tensor(-1.0, dtype=dtype)).isnan())
