import mpmath
import pytest
import torch

from posterity.kernels.skellam import log_skellam_cdf, log_skellam_mass, log_skellam_survival


def _mass(k, a, b):
    return mpmath.exp(-a - b) * (a / b) ** (mpmath.mpf(k) / 2) * mpmath.besseli(abs(k), 2 * mpmath.sqrt(a * b))


@pytest.mark.parametrize(("rate1", "rate2"), [(2.0, 1.0), (1e-3, 1e-3), (0.01, 30.0), (20.0, 25.0)])
def test_mass_and_tails_agree_with_bessel_functions_and_their_sums(rate1, rate2):
    with mpmath.workdps(40):
        a, b = mpmath.mpf(rate1), mpmath.mpf(rate2)
        spread = (rate1 + rate2) ** 0.5
        for z in (-20, -3, 3, 20):
            k = round(rate1 - rate2 + z * spread)
            below = k < rate1 - rate2
            tail = range(k - 60 - int(14 * spread), k + 1) if below else range(k + 1, k + 61 + int(14 * spread))
            exact = mpmath.log(mpmath.fsum(_mass(j, a, b) for j in tail))
            given = [torch.tensor(float(v), dtype=torch.float64) for v in (k, rate1, rate2)]
            ours = (log_skellam_cdf if below else log_skellam_survival)(*given)
            assert abs(float(ours) - float(exact)) <= 1e-13 * (1 + abs(float(exact)))
            mass = float(mpmath.log(_mass(k, a, b)))
            assert abs(float(log_skellam_mass(*given)) - mass) <= 1e-13 * (1 + abs(mass))


@pytest.mark.parametrize("function", [log_skellam_mass, log_skellam_cdf, log_skellam_survival])
def test_derivatives_to_the_second_order(function):
    count = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64)
    rates = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (2.0, 1.0))
    assert torch.autograd.gradcheck(lambda a, b: function(count, a, b), rates)
    assert torch.autograd.gradgradcheck(lambda a, b: function(count, a, b), rates)
