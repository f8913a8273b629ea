"""Owen's T against its integral by mpmath."""

import math

import mpmath
import pytest
import torch

from posterity.kernels import ndtr, owens_t
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
HEIGHTS = [single(h) for h in (1e-3, 0.3, 1, 3, 8, 30)]
SLOPES = [single(a) for a in (1e-6, 0.1, 0.9, 1, 1.1, 3, 50)]


@pytest.fixture(scope="module")
def exact():
    table = {}
    with mpmath.workdps(25):
        for h in HEIGHTS:
            for a in SLOPES:
                top = min(mpmath.mpf(a), 14 / mpmath.mpf(h))
                cuts = sorted({c for c in (1, 4, 16, 1 / h, 4 / h) if c < top} | {0, top})
                area = mpmath.quad(lambda t, h=h: mpmath.exp(-(mpmath.mpf(h) ** 2) * t * t / 2) / (1 + t * t), cuts)
                table[h, a] = mpmath.exp(-(mpmath.mpf(h) ** 2) / 2) * area / (2 * mpmath.pi)
    return table


@both_dtypes
def test_values(exact, dtype):
    assert_exact(owens_t, exact, dtype)


@both_dtypes
def test_symmetries_and_ends(dtype):
    h, a = torch.tensor([0.0, 0.5, 4.0], dtype=dtype), torch.tensor([0.3, 2.0, 0.7], dtype=dtype)
    assert torch.equal(owens_t(-h, a), owens_t(h, a))
    assert torch.equal(owens_t(h, -a), -owens_t(h, a))
    torch.testing.assert_close(owens_t(0.0, a), a.atan() / (2 * math.pi))
    torch.testing.assert_close(owens_t(h, INF), 0.5 * ndtr(-h))
    torch.testing.assert_close(owens_t(h, 1.0), 0.5 * ndtr(h) * ndtr(-h))
    assert owens_t(torch.tensor(INF, dtype=dtype), a).tolist() == [0, 0, 0]
    assert_no_nan(owens_t, [(h, a) for h in (-INF, -1, 0, 1, INF) for a in (-INF, -1, 0, 2, INF)], dtype)


def test_derivatives_composition_and_nan():
    h = torch.tensor([-0.7, 0.4, 2.0], dtype=torch.float64)
    a = torch.tensor([0.5, -1.7, 1.2], dtype=torch.float64)
    assert_differentiable(owens_t, h, a)
    assert_composes(owens_t, h, a)
    assert_nan_in_nan_out(owens_t, h, a)
