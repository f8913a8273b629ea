"""Data whose likelihood has no maximum are refused with the reason, whatever their rounding."""

import pytest
import torch

from posterity.distributions import (
    Beta,
    Chi2,
    ContinuousBernoulli,
    FisherSnedecor,
    Gamma,
    GeneralizedExtremeValue,
    GeneralizedPareto,
    HalfStudentT,
    Horseshoe,
    InverseGamma,
    InverseGaussian,
    Kumaraswamy,
    LowRankMultivariateNormal,
    MultivariateNormal,
    MultivariateStudentT,
    Pareto,
    StudentT,
    VonMises,
    Weibull,
)

SPREADING = [
    Beta,
    FisherSnedecor,
    Gamma,
    GeneralizedExtremeValue,
    GeneralizedPareto,
    InverseGamma,
    InverseGaussian,
    Kumaraswamy,
    Pareto,
    StudentT,
    VonMises,
    Weibull,
]
name_of = lambda family: family.__name__  # noqa: E731  # how pytest calls the cases


@pytest.mark.parametrize("family", SPREADING, ids=name_of)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_that_are_all_alike_are_refused(family, dtype):
    # A number whose weighted mean is not itself.
    alike = torch.full((6,), 1 / 3, dtype=dtype)
    with pytest.raises(ValueError, match=rf"data of {family.__name__}.fit must not be all alike"):
        family.fit(alike)
    unlike = torch.linspace(0.1, 0.9, 6, dtype=dtype)
    with pytest.raises(ValueError, match=rf"data of {family.__name__}.fit must not be all alike"):
        family.fit(torch.stack([unlike, alike], dim=1))
    # What has no weight does not count.
    with pytest.raises(ValueError, match=rf"data of {family.__name__}.fit must not be all alike"):
        family.fit(torch.cat([alike, unlike]), weights=(torch.arange(12) < 6).to(dtype))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (MultivariateStudentT, "lie in a hyperplane, so that the likelihood has no maximum: give at least 4 draws"),
        (MultivariateNormal, "lie in a hyperplane, so that the likelihood has no maximum: give at least 4 draws"),
        (LowRankMultivariateNormal, "must vary in every entry"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_with_an_entry_that_is_always_alike_are_refused(family, message, dtype):
    alike = torch.full((6, 3), 1 / 3, dtype=dtype)
    unlike = torch.randn(6, 3, dtype=dtype)
    one_entry = torch.where(torch.arange(3) == 1, alike, unlike)
    of_no_weight = (torch.arange(12) < 6).to(dtype)
    with pytest.raises(ValueError, match=rf"data of {family.__name__}.fit {message}"):
        family.fit(alike)
    with pytest.raises(ValueError, match=message):
        family.fit(one_entry)
    with pytest.raises(ValueError, match=message):
        family.fit(torch.stack([unlike, alike], dim=1))
    with pytest.raises(ValueError, match=message):
        family.fit(torch.cat([one_entry, unlike]), weights=of_no_weight)


@pytest.mark.parametrize(
    "family", [Chi2, FisherSnedecor, Gamma, InverseGamma, InverseGaussian, Pareto, Weibull], ids=name_of
)
def test_a_draw_at_zero_is_refused_by_families_of_positive_numbers(family):
    with pytest.raises(ValueError, match=rf"data of {family.__name__} must satisfy GreaterThan\(lower_bound=0.0\)"):
        family.fit(torch.tensor([0.0, 0.5, 2.0]))


@pytest.mark.parametrize("family", [Beta, Kumaraswamy], ids=name_of)
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_draw_at_an_end_of_the_unit_interval_is_refused(family, end):
    with pytest.raises(ValueError, match=rf"data of {family.__name__}.fit must lie inside \(0, 1\)"):
        family.fit(torch.tensor([end, 0.5, 0.2]))


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_draws_all_at_one_end_have_no_best_tilt(end):
    with pytest.raises(ValueError, match=r"data of ContinuousBernoulli.fit must not all be 0 or all be 1"):
        ContinuousBernoulli.fit(torch.full((3,), end))


def test_draws_at_the_pole_or_at_the_end_have_no_best_scale():
    with pytest.raises(ValueError, match=r"data of HalfStudentT.fit must not be all 0"):
        HalfStudentT.fit(torch.zeros(3))
    with pytest.raises(ValueError, match=r"data of Horseshoe.fit must not hold 0"):
        Horseshoe.fit(torch.tensor([0.0, 1.0]))


def test_directions_that_cancel_have_no_best_direction():
    with pytest.raises(ValueError, match=r"data of VonMises.fit must neither cancel nor point all one way"):
        VonMises.fit(torch.tensor([0.0, torch.pi]))
    with pytest.raises(ValueError, match=r"data of VonMises.fit must neither cancel nor point all one way"):
        VonMises.fit(torch.tensor([0.5, 0.5 + 2 * torch.pi], dtype=torch.float64))


@pytest.mark.parametrize("family", [GeneralizedExtremeValue, GeneralizedPareto], ids=name_of)
def test_a_search_that_climbs_without_end_says_so(family):
    # Three draws: the likelihood grows without bound as the upper end nears the greatest.
    with pytest.raises(ArithmeticError, match=rf"{family.__name__}.fit did not converge"):
        family.fit(torch.tensor([0.0, 0.1, 0.5]))


def test_draws_that_are_nearly_alike_have_a_sharp_gamma_distribution():
    # In the limit the gamma distribution is normal, with the variance of the data.
    steps = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    for spread in (1e-3, 1e-6, 1e-9):
        data = 2.0 + spread * steps
        fitted = Gamma.fit(data)
        variance = (data - data.mean()).square().mean()
        torch.testing.assert_close(fitted.mean, data.mean(), rtol=1e-14, atol=0)
        # The third moment of symmetric data is 0: the next correction is of the order of the squared spread.
        torch.testing.assert_close(fitted.variance, variance, rtol=1e-6 + spread, atol=0)
