"""Ratios of gamma functions and differences of digammas against mpmath, for arguments of any size."""

import mpmath
import torch

from posterity.kernels.gamma_ratio import digamma_difference, log_gamma_ratio
from tests.kernels.special_checks import both_dtypes

A = torch.tensor([1e-3, 0.3, 1.0, 4.5, 15.9, 16.1, 40.0, 1e3, 1e6, 1e12], dtype=torch.float64)
B = torch.tensor([0.0, 0.5, 1.0, 3.5, 100.0, 3e4], dtype=torch.float64)


def _exact(function, dtype):
    with mpmath.workdps(50):
        pairs = [[(mpmath.mpf(float(a.to(dtype))), mpmath.mpf(float(b.to(dtype)))) for b in B] for a in A]
        return torch.tensor(
            [[float(function(a + b) - function(a)) for a, b in row] for row in pairs], dtype=torch.float64
        )


@both_dtypes
def test_values_agree_with_exact_ones(dtype):
    a, b = A.to(dtype).unsqueeze(-1), B.to(dtype)
    eps = torch.finfo(dtype).eps
    exact = _exact(mpmath.loggamma, dtype)
    # Terms of the size of b (1 + log a), and below 16 torch's own lgamma at both ends.
    size = b * (1 + a.log().abs()) + torch.lgamma(a.clamp(max=16) + b).abs() + torch.lgamma(a.clamp(max=16)).abs()
    assert bool(((log_gamma_ratio(a, b).double() - exact).abs() <= 8 * eps * (size + 1)).all())
    exact = _exact(mpmath.digamma, dtype)
    near = torch.digamma(a.clamp(max=16)).abs() + torch.digamma(a.clamp(max=16) + b).abs()
    allowed = 8 * eps * torch.where(a > 16, exact.abs(), near)
    assert bool(((digamma_difference(a, b).double() - exact).abs() <= allowed).all())


def test_gradients_agree_with_finite_differences():
    a = torch.tensor([0.3, 4.5, 15.0, 17.0, 40.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[0.5], [3.5]], dtype=torch.float64, requires_grad=True)
    for function in (log_gamma_ratio, digamma_difference):
        assert torch.autograd.gradcheck(function, (a, b))
        assert torch.autograd.gradgradcheck(function, (a, b))
