"""The lower tail of the exponentially modified Gaussian, where the two terms of its cdf nearly cancel."""

import mpmath
import pytest
import torch

from posterity.distributions import ExponentiallyModifiedGaussian


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.3, 0.99, 1.01, 30.0, 1e3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-13), (torch.float32, 3e-6)])
def test_the_lower_tail_keeps_its_digits(rate, dtype, tolerance):
    x = torch.tensor([-35.0, -10.0, -3.0, -0.5, 0.0, 0.25, 1.0, 5.0], dtype=dtype)
    d = ExponentiallyModifiedGaussian(torch.zeros((), dtype=dtype), 1.0, rate)
    with mpmath.workdps(60):
        a = mpmath.mpf(float(d.rate))
        exact = [mpmath.ncdf(z) - mpmath.exp(a * a / 2 - a * z) * mpmath.ncdf(z - a) for z in x.tolist()]
        exact = torch.tensor([float(mpmath.log(e)) for e in exact], dtype=torch.float64)
    # A direct difference loses about 1 / rate: an error of the logarithm by a unit of rounding is not to be had there.
    allowed = tolerance * (1 + exact.abs())
    assert bool(((d.log_cdf(x).double() - exact).abs() <= allowed).all())


def test_derivatives_of_both_orders_agree_with_differences():
    x = torch.tensor([-6.0, -0.5, 0.5, 3.0, 9.0], dtype=torch.float64, requires_grad=True)
    for rate in (0.4, 2.0):
        rate = torch.tensor(rate, dtype=torch.float64, requires_grad=True)

        def log_cdf(x, rate):
            return ExponentiallyModifiedGaussian(0.0, torch.ones_like(rate), rate).log_cdf(x)

        assert torch.autograd.gradcheck(log_cdf, (x, rate))
        assert torch.autograd.gradgradcheck(log_cdf, (x, rate))
