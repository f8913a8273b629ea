"""Statistics at the ends of the line, and where an exponential overflows."""

import pytest
import torch

from posterity.distributions import GeneralizedExtremeValue, Gumbel, NegativeBinomial, Skellam, Zipf

_INFINITE = torch.tensor([-torch.inf, torch.inf])


@pytest.mark.parametrize(
    "d", [NegativeBinomial(2.0, 0.3), Skellam(2.0, 1.0), Zipf(2.5)], ids=lambda d: type(d).__name__
)
def test_all_the_mass_lies_between_the_infinities(d):
    assert d.cdf(_INFINITE).tolist() == [0, 1]
    assert d.survival_function(_INFINITE).tolist() == [1, 0]
    assert d.log_cdf(_INFINITE).tolist() == [-torch.inf, 0]
    assert d.log_survival_function(_INFINITE).tolist() == [0, -torch.inf]


def test_an_extreme_value_has_no_density_at_the_lower_end():
    d = GeneralizedExtremeValue(0.0, 1.0, torch.tensor([0.5, -0.5]))
    assert d.log_prob(torch.tensor([-2.0, -torch.inf])).tolist() == [-torch.inf, -torch.inf]


@pytest.mark.parametrize("statistic", ["cdf", "survival_function", "log_survival_function"])
def test_a_cdf_that_underflows_has_no_slope(statistic):
    scale = torch.tensor(0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(getattr(Gumbel(0.0, scale), statistic)(torch.tensor(-40.0)), scale)
    assert float(slope) == 0
