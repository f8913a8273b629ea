import math

import mpmath
import pytest
import torch

from posterity.kernels.zeta import log_zeta, log_zeta_slope


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 2e-6), (torch.float64, 4e-14)])
def test_log_zeta_agrees_with_mpmath(dtype, accuracy):
    for s in (1.0001, 1.5, 3.5, 40.0):
        for q in (1.0, 2.0, 100.0, 1e12):
            a, b = torch.tensor(s, dtype=dtype), torch.tensor(q, dtype=dtype)
            with mpmath.workdps(40):
                exact = float(mpmath.log(mpmath.zeta(mpmath.mpf(float(a)), mpmath.mpf(float(b)))))
            assert abs(float(log_zeta(a, b)) - exact) <= accuracy * (1 + abs(exact))


def test_the_slope_is_that_of_riemanns_zeta():
    s = torch.tensor([1.01, 2.0, 5.0, 30.0], dtype=torch.float64)
    with mpmath.workdps(30):
        exact = [float(mpmath.zeta(v, 1, 1) / mpmath.zeta(v)) for v in map(mpmath.mpf, s.tolist())]
    ours = log_zeta_slope(s, torch.ones_like(s))
    torch.testing.assert_close(ours, torch.tensor(exact, dtype=torch.float64), rtol=1e-13, atol=0)


def test_derivatives_to_the_second_order_and_outside_the_domain():
    s = torch.tensor([1.1, 4.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([1.0, 30.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_zeta, (s, q))
    assert torch.autograd.gradgradcheck(log_zeta, (s, q))
    assert math.isnan(float(log_zeta(torch.tensor(1.0), torch.tensor(1.0))))
