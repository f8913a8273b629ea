import math

import mpmath
import pytest
import torch

from posterity.kernels.guarded_logarithms import xlog1py, xlogy
from posterity.kernels.poisson_mass import deviance, log_poisson_mass

RATES = (1e-3, 0.5, 3.0, 10.0, 12.0, 90.0, 130.0, 999.0, 1200.0, 1e6, 1.001e6)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-6), (torch.float64, 2e-14)])
def test_the_mass_keeps_its_digits_at_counts_of_a_million(dtype, accuracy):
    for count in (0, 1, 5, 9, 10, 15, 100, 1000, 10**6):
        rates = torch.tensor(RATES, dtype=dtype)
        ours = log_poisson_mass(torch.tensor(float(count), dtype=dtype), rates)
        with mpmath.workdps(30):
            exact = [count * mpmath.log(r) - r - mpmath.loggamma(count + 1) for r in map(mpmath.mpf, rates.tolist())]
            exact = torch.tensor([float(e) for e in exact], dtype=torch.float64)
        assert float(((ours - exact).abs() / (1 + exact.abs())).max()) <= accuracy


def test_limits_are_exact():
    zero, one = torch.zeros(()), torch.ones(())
    assert float(log_poisson_mass(zero, zero)) == 0
    assert float(log_poisson_mass(one, zero)) == -math.inf
    assert float(deviance(zero, zero)) == 0
    assert float(deviance(one, zero)) == math.inf
    assert float(deviance(zero, one)) == 1
    assert math.isnan(float(log_poisson_mass(one, -one)))


def test_derivatives_to_the_second_order():
    x = torch.tensor([0.5, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    mean = torch.tensor([0.6, 5.0, 41.0], dtype=torch.float64, requires_grad=True)
    for function in (deviance, log_poisson_mass, xlogy, xlog1py):
        assert torch.autograd.gradcheck(function, (x, mean))
        assert torch.autograd.gradgradcheck(function, (x, mean))


def test_gradients_at_impossible_events_that_did_not_happen_are_zero():
    zero = torch.zeros((), dtype=torch.float64)
    assert float(torch.func.grad(xlogy, argnums=1)(zero, zero)) == 0
    assert float(torch.func.grad(xlog1py, argnums=1)(zero, zero - 1)) == 0
    assert float(torch.func.grad(log_poisson_mass, argnums=1)(zero, zero)) == -1
