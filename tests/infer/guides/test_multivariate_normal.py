"""The normal guides of full and of low rank: correlated posteriors recovered, the bound at them exact."""

import math

import pytest
import torch

import posterity as pt
from posterity.infer import AutoLowRankMultivariateNormal, AutoMultivariateNormal
from tests.infer.guides.fitting import bound, fit, inverse_softplus, regression, regression_model

dist = pt.distributions


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [(AutoMultivariateNormal, 0.1), (lambda model: AutoLowRankMultivariateNormal(model, rank=2), 0.2)],
)
def test_training_recovers_a_correlated_posterior_within_a_tenth_of_its_spread(make, tolerance):
    known = regression()
    guide = fit(regression_model, make(regression_model), known.x, known.y, steps=400)
    posterior = guide.get_posterior()
    spread = known.covariance.diagonal().sqrt()
    assert known.covariance[0, 1] / (spread[0] * spread[1]) < -0.5
    assert ((posterior.mean - known.mean) / spread).abs().max() < 0.1
    off = (posterior.covariance_matrix - known.covariance) / (spread * spread.unsqueeze(-1))
    assert off.abs().max() < tolerance


def test_the_bound_at_the_exact_posterior_is_the_evidence_at_every_draw():
    known = regression()
    guide = AutoMultivariateNormal(regression_model).setup(known.x, known.y)
    factor = torch.linalg.cholesky(known.covariance)
    with torch.no_grad():
        guide.loc.copy_(known.mean)
        guide.raw_scale.copy_(inverse_softplus(factor.diagonal()))
        guide.raw_tril.copy_(factor / factor.diagonal().unsqueeze(-1))
    torch.testing.assert_close(guide.get_posterior().covariance_matrix, known.covariance)
    for _ in range(3):
        value = bound(regression_model, guide, known.x, known.y)
        torch.testing.assert_close(value, known.log_evidence, rtol=1e-11, atol=0)


def test_the_low_rank_covariance_is_the_scaled_sum_of_identity_and_outer_product():
    def model():
        pt.sample("z", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))

    guide = AutoLowRankMultivariateNormal(model, rank=1).setup()
    with torch.no_grad():
        guide.raw_scale.copy_(inverse_softplus(torch.tensor([1.0, 2.0])))
        guide.factor.copy_(torch.tensor([[1.0], [0.5]]))
    expected = torch.tensor([[2.0, 1.0], [1.0, 5.0]], dtype=torch.float64)
    torch.testing.assert_close(guide.get_posterior().covariance_matrix, expected)


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (2, 2), (9, 3), (10, 4)])
def test_the_default_rank_is_the_root_of_the_size_rounded_up(size, rank):
    guide = AutoLowRankMultivariateNormal(lambda: pt.sample("z", dist.Normal(torch.zeros(size), 1.0))).setup()
    assert guide.factor.shape == (size, rank)


def test_the_low_rank_guide_starts_at_about_init_scale():
    guide = AutoLowRankMultivariateNormal(
        lambda: pt.sample("z", dist.Normal(torch.zeros(400), 1.0)), init_scale=0.3
    ).setup()
    # The mean of 400 variances 0.045 (1 + chi2_20 / 20), each with a standard deviation of 0.045 / 10**0.5.
    variance = guide.get_posterior().variance.mean().item()
    assert abs(variance - 0.09) < 5 * 0.045 / math.sqrt(10 * 400)


@pytest.mark.parametrize("make", [AutoMultivariateNormal, AutoLowRankMultivariateNormal])
def test_quantiles_are_those_of_the_marginals(make):
    def model():
        pt.sample("a", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0))
        pt.sample("b", dist.Gamma(torch.tensor(2.0, dtype=torch.float64), 1.0))

    guide = make(model).setup()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.copy_(torch.randn_like(parameter))
    posterior = guide.get_posterior()
    found = guide.quantiles([0.05, 0.95])
    levels = torch.tensor([[0.05], [0.95]], dtype=torch.float64)
    expected = torch.distributions.Normal(posterior.mean, posterior.variance.sqrt()).icdf(levels)
    torch.testing.assert_close(found["a"], expected[:, :2].detach())
    torch.testing.assert_close(found["b"], expected[:, 2].exp().detach())


@pytest.mark.parametrize("rank", [0, 1.5, True])
def test_a_rank_that_is_no_positive_whole_number_is_refused(rank):
    with pytest.raises(ValueError, match="rank of AutoLowRankMultivariateNormal must be a whole number"):
        AutoLowRankMultivariateNormal(lambda: None, rank=rank)
