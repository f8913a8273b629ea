"""Lambert's W against mpmath, up to the branch point."""

import math

import mpmath
import pytest
import torch

from posterity.kernels import lambertw
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
# The float32 numbers above -1/e, from the nearest on; -0.3564 is where the series hands over.
SHARED = [-0.36787941, -0.367879, -0.3678, -0.36, -0.3565, -0.356, -0.35, -0.3, -0.251, -0.249, -0.1, -1e-3, -1e-30]
POINTS = {0: [*SHARED, 0, 1e-30, 1e-5, 0.1, 1, 5.9, 6.1, 100, 1e10, 1e35], -1: SHARED}


def branch(k):
    return lambda x: lambertw(x, branch=k)


@both_dtypes
@pytest.mark.parametrize("k", POINTS)
def test_values_and_derivatives(k, dtype):
    with mpmath.workdps(40):
        values = {(single(x),): mpmath.lambertw(single(x), k).real for x in POINTS[k]}
        assert_exact(branch(k), values, dtype)
        slopes = {x: 1 / (mpmath.exp(w) * (1 + w)) for x, w in values.items()}
        first = torch.func.grad(lambda x: branch(k)(x).sum())
        assert_exact(first, slopes, dtype)
        curvatures = {x: -(slopes[x] ** 2) * (2 + w) / (1 + w) for x, w in values.items()}
        assert_exact(torch.func.grad(lambda x: first(x).sum()), curvatures, dtype)


@pytest.mark.parametrize("k", POINTS)
def test_derivatives_composition_and_nan(k):
    x = torch.tensor([-0.36, -0.3, -0.05], dtype=torch.float64)
    assert_differentiable(branch(k), x)
    assert_composes(branch(k), x)
    assert_nan_in_nan_out(branch(k), x)


@both_dtypes
def test_ends(dtype):
    point = torch.tensor(-math.exp(-1), dtype=dtype)
    assert lambertw(point) == -1
    assert lambertw(point, branch=-1) == -1
    assert lambertw(torch.tensor([0.0, INF], dtype=dtype)).tolist() == [0, INF]
    assert lambertw(torch.tensor(0.0, dtype=dtype), branch=-1) == -INF
    assert bool(lambertw(torch.tensor([-0.4, -INF], dtype=dtype)).isnan().all())
    assert bool(lambertw(torch.tensor([-0.4, 0.1], dtype=dtype), branch=-1).isnan().all())
    assert_no_nan(branch(0), [(float(point),), (0,), (1e38,), (INF,)], dtype)
    assert_no_nan(branch(-1), [(float(point),), (-1e-37,), (0,)], dtype)
    for k, slope in ((0, INF), (-1, -INF)):
        assert torch.func.grad(branch(k))(point) == slope


def test_complex_branches_are_refused():
    with pytest.raises(ValueError, match="branch of lambertw must be 0 or -1, the real ones, not 1"):
        lambertw(torch.zeros(1), branch=1)
