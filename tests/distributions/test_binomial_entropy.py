"""The entropy of binomial counts, listed, windowed and as a series, against sums in float64."""

import mpmath
import numpy as np
import pytest
import torch

from posterity.distributions import Binomial
from posterity.distributions.masses import mass_table


def summed(n, p):
    mean, spread = n * p, 12 * (n * p * (1 - p)) ** 0.5 + 60
    k = np.arange(max(0, int(mean - spread)), min(n, int(mean + spread)) + 1)
    # From the first mass, exactly, on by ratios: factorials of such counts have lost their digits.
    with mpmath.workdps(40):
        first = (
            mpmath.log(mpmath.binomial(n, int(k[0]))) + int(k[0]) * mpmath.log(p) + (n - int(k[0])) * mpmath.log1p(-p)
        )
    ratios = np.log((n - k[:-1]).astype(np.longdouble) / (k[1:]) * p / (1 - np.longdouble(p)))
    log_mass = np.longdouble(str(first)) + np.concatenate([[0], np.cumsum(ratios)])
    return float(-np.sum(np.exp(log_mass) * log_mass))


# The variance at which the series begins is 2^20.
@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (500, 0.3), (10**6, 1e-5), (2**22 - 9, 0.5), (2**22 + 9, 0.5)])
def test_against_a_sum(n, p):
    d = Binomial(torch.tensor(float(n), dtype=torch.float64), p)
    assert float(d.entropy()) == pytest.approx(summed(n, p), rel=1e-12)


def test_sum_and_series_meet():
    # On both sides of the switch the entropy grows as half the logarithm of n: a step in it would show.
    n = 4 * 2.0**20 / 0.84 + torch.tensor([-2.0, 2.0], dtype=torch.float64)
    n = n.round()
    sum_, series = Binomial(n, 0.3).entropy()
    assert float(series - sum_) == pytest.approx(0.5 * float((n[1] / n[0]).log()), abs=2e-12)


@pytest.mark.parametrize("total_count", [1e6, 1e9, 1e12])
def test_no_more_counts_are_listed_than_carry_mass(total_count):
    d = Binomial(torch.tensor(total_count, dtype=torch.float64), 100 / total_count)
    values, masses = mass_table(d)
    assert len(values) < 400
    assert float(masses.sum()) == pytest.approx(1, abs=1e-12)
    assert d.entropy().isfinite()
    normal = 0.5 * np.log(2 * np.pi * np.e * total_count / 4)
    assert float(Binomial(torch.tensor(total_count, dtype=torch.float64), 0.5).entropy()) == pytest.approx(normal)


def test_gradients_reach_the_parameters_on_both_sides():
    n = torch.tensor([100.0, 1e9], dtype=torch.float64)
    p = torch.tensor([0.3, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: Binomial(n, p).entropy(), p)
