import math

import mpmath as mp
import pytest
import torch

from posterity.kernels import log_gammainc, log_gammaincc
from tests.kernels.gamma_reference import tails
from tests.kernels.test_incomplete_gamma import TOLERANCE, A, X, assert_relative, grid


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logarithms_keep_relative_accuracy(dtype):
    a, x = grid(dtype)
    exact = [tails(*point) for point in zip(a.tolist(), x.tolist(), strict=True)]
    with mp.workdps(45):
        lower = [mp.log1p(-q) if q < 0.5 else mp.log(p) for p, q, _ in exact]
        upper = [mp.log1p(-p) if p < 0.5 else mp.log(q) for p, q, _ in exact]
    assert_relative(log_gammainc(a, x), lower, TOLERANCE[dtype])
    assert_relative(log_gammaincc(a, x), upper, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_tails_that_underflow_have_finite_logarithms_and_gradients(dtype):
    a = torch.tensor([1.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    x = torch.tensor([5000.0, 1e4, 1e6], dtype=dtype, requires_grad=True)
    upper = log_gammaincc(a, x)
    by_a, by_x = torch.autograd.grad(upper.sum(), (a, x))
    assert upper[0].item() == pytest.approx(-5000, rel=TOLERANCE[dtype])
    # The hazard of the gamma far out is 1 - (a - 1) / x to the first order, and that of a = 1 is 1.
    assert by_x[0].item() == pytest.approx(-1, rel=TOLERANCE[dtype])
    assert (by_a > 0).all()
    assert (by_x[1:] + 1 - (a[1:] - 1) / x[1:]).abs().max() < 2e-4
    x = torch.tensor([1e-30, 1e-20, 1e-10], dtype=dtype)
    # P = x^a / Gamma(a + 1) (1 - a x / (a + 1) + ...)
    exact = a * x.log() - torch.lgamma(a + 1)
    torch.testing.assert_close(log_gammainc(a, x), exact, rtol=TOLERANCE[dtype], atol=0)


@pytest.mark.parametrize("function", [log_gammainc, log_gammaincc])
def test_first_and_second_order_in_both_modes(function):
    assert torch.autograd.gradcheck(function, (A, X), check_forward_ad=True, rtol=1e-5)
    assert torch.autograd.gradgradcheck(function, (A, X), rtol=1e-4)


def test_limits():
    inf = math.inf
    a, x = torch.tensor([0.5, 2.0, 0.0, inf]), torch.tensor([0.0, inf, 1.0, 1.0])
    assert log_gammainc(a, x).tolist() == [-inf, 0, 0, -inf]
    assert log_gammaincc(a, x).tolist() == [0, -inf, -inf, 0]
    assert log_gammainc(torch.tensor([-1.0, 1.0]), torch.tensor([1.0, -1.0])).isnan().all()


def test_third_derivative_is_refused():
    third = torch.func.grad(torch.func.grad(torch.func.grad(log_gammaincc)))
    with pytest.raises(NotImplementedError, match="two derivatives in the concentration"):
        third(torch.tensor(2.0), torch.tensor(1.0))
