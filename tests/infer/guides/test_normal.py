"""AutoNormal: the mean-field solution, closed forms found, exact quantiles."""

import math

import pytest
import torch
from torch.distributions import constraints

import posterity as pt
from posterity.handlers import trace
from posterity.infer import AutoNormal, init_to_feasible, init_to_value
from tests.infer.guides.fitting import bound, fit, inverse_softplus, regression, regression_model
from tests.statistical import assert_mean, assert_variance

dist = pt.distributions


def test_training_finds_the_mean_field_solution_of_a_normal_posterior():
    # Bishop (2006), section 10.1.2: the means are exact, and the variances those of the conditionals.
    known = regression()
    guide = fit(regression_model, AutoNormal(regression_model), known.x, known.y, steps=400)
    precision = torch.linalg.inv(known.covariance)
    mean = torch.cat([guide.loc["weights"], guide.loc["bias"].reshape(1)])
    scale = torch.cat([guide.scale("weights"), guide.scale("bias").reshape(1)])
    assert ((mean - known.mean) / known.covariance.diagonal().sqrt()).abs().max() < 0.1
    torch.testing.assert_close(scale, precision.diagonal().rsqrt(), rtol=0.05, atol=0)


def test_the_bound_at_a_posterior_of_independent_normals_is_the_evidence_at_every_draw():
    y = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def model():
        with pt.plate("data", 3):
            z = pt.sample("z", dist.Normal(y.new_zeros(()), 1.0))
            pt.sample("y", dist.Normal(z, 2.0), obs=y)

    guide = AutoNormal(model).setup()
    with torch.no_grad():
        guide.loc["z"].copy_(y / 5)
        guide.raw_scale["z"].copy_(inverse_softplus(torch.full_like(y, math.sqrt(0.8))))
    evidence = torch.distributions.Normal(torch.zeros_like(y), math.sqrt(5.0)).log_prob(y).sum()
    for _ in range(3):
        torch.testing.assert_close(bound(model, guide), evidence, rtol=1e-12, atol=0)


def test_a_real_latent_is_drawn_from_its_normal_and_others_are_images_of_auxiliary_sites():
    def model():
        pt.sample("real", dist.Normal(torch.zeros(2, 3), 1.0).to_event(1))
        pt.sample("positive", dist.Gamma(torch.ones(2), 1.0))

    recorded = trace(AutoNormal(model)).get_trace()
    assert list(recorded) == ["real", "positive_unconstrained", "positive"]
    assert isinstance(recorded["real"].distribution.base_dist, dist.Normal)
    assert (recorded["real"].batch_shape, recorded["real"].distribution.event_shape) == ((2,), (3,))
    assert recorded["positive_unconstrained"].infer == {"is_auxiliary": True}
    assert isinstance(recorded["positive"].distribution, dist.Delta)


def _positive():
    return dist.Gamma(torch.tensor(3.0, dtype=torch.float64), 2.0)


def _interval():
    return dist.Uniform(torch.tensor([0.0, -1.0], dtype=torch.float64), torch.tensor([1.0, 3.0], dtype=torch.float64))


def _simplex():
    return dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64))


def _correlations():
    return dist.LKJCholesky(3, torch.tensor(2.0, dtype=torch.float64))


@pytest.mark.parametrize("make", [_positive, _interval, _simplex, _correlations])
def test_the_density_of_a_constrained_latent_is_that_of_the_transformed_normal(make):
    prior = make()
    recorded = trace(AutoNormal(lambda: pt.sample("z", prior), init_scale=0.7)).get_trace()
    assert prior.support.check(recorded["z"].value).all()
    auxiliary = recorded["z_unconstrained"].distribution
    expected = dist.TransformedDistribution(auxiliary, pt.bijectors.bijector_to(prior.support))
    log_density = recorded["z_unconstrained"].log_prob().sum() + recorded["z"].log_prob().sum()
    torch.testing.assert_close(log_density, expected.log_prob(recorded["z"].value).sum(), rtol=1e-9, atol=1e-9)


def test_training_fits_a_log_normal_posterior_exactly():
    guide = AutoNormal(lambda: pt.sample("z", dist.LogNormal(torch.tensor(1.0, dtype=torch.float64), 0.5)))
    fit(guide.model, guide, steps=300)
    torch.testing.assert_close(guide.loc["z"].item(), 1.0, rtol=0, atol=0.05)
    torch.testing.assert_close(guide.scale("z").item(), 0.5, rtol=0.1, atol=0)


def test_quantiles_are_those_of_the_normal_mapped_in_the_right_order():
    bounds = dist.Uniform(torch.tensor([0.0, -1.0]), torch.tensor([1.0, 3.0]))

    def model():
        pt.sample("real", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("positive", dist.HalfNormal(torch.ones(())))
        pt.sample("between", bounds)
        pt.sample("below", _Negative())

    guide = AutoNormal(model, init=init_to_feasible, init_scale=0.3).setup()
    at = 0.3 * 1.2815515655446004
    found = guide.quantiles([0.1, 0.5, 0.9])
    torch.testing.assert_close(found["real"], torch.tensor([-at, 0.0, at]))
    torch.testing.assert_close(found["positive"], torch.tensor([-at, 0.0, at]).exp())
    torch.testing.assert_close(found["below"], -torch.tensor([at, 0.0, -at]).exp())
    unit = torch.sigmoid(torch.tensor([-at, 0.0, at]))
    torch.testing.assert_close(found["between"], torch.stack([unit, 4 * unit - 1], -1))
    torch.testing.assert_close(guide.median()["between"], torch.tensor([0.5, 1.0]))


class _Negative(dist.Normal):
    """A density on the negative half line, which a decreasing map reaches."""

    support = constraints.less_than(0.0)

    def __init__(self):
        super().__init__(torch.zeros(()), 1.0)

    def sample(self, sample_shape=(), *, generator=None):
        return -super().sample(sample_shape, generator=generator).abs()


def test_quantiles_of_a_simplex_are_those_of_its_entries():
    guide = AutoNormal(lambda: pt.sample("p", dist.Dirichlet(torch.ones(2))), init=init_to_feasible, init_scale=1.0)
    found = guide.quantiles([0.25, 0.5, 0.75])["p"]
    # With two entries the first is the logistic function of one normal number; 4096 draws know the median's level
    # within 0.5 / 64, at 5 standard errors within 0.04, over which the density of about 1.6 moves it by 0.03.
    exact = torch.sigmoid(torch.tensor([-0.6745, 0.0, 0.6745]))
    torch.testing.assert_close(found[:, 0], exact, rtol=0, atol=0.03)
    torch.testing.assert_close(found[:, 1], 1 - found[:, 0].flip(0), rtol=0, atol=1e-4)
    assert torch.equal(found, guide.quantiles([0.25, 0.5, 0.75])["p"])


def test_the_median_of_a_simplex_lies_on_it():
    start = torch.tensor([0.2, 0.3, 0.5])
    guide = AutoNormal(
        lambda: pt.sample("p", dist.Dirichlet(torch.ones(3))), init=init_to_value(values={"p": start}), init_scale=1.0
    )
    # The guide's centre on unconstrained space is where it started.
    torch.testing.assert_close(guide.median()["p"], start)


def test_draws_have_the_moments_of_the_parameters():
    guide = AutoNormal(lambda: pt.sample("z", dist.Normal(torch.zeros(3), 1.0)), init_scale=0.5)
    draws = guide.sample_posterior((4000,), generator=1)["z"]
    assert_mean(draws, guide.loc["z"].detach())
    assert_variance(draws, 0.25)


def test_the_scale_starts_at_init_scale_where_init_says():
    guide = AutoNormal(
        lambda: pt.sample("z", dist.Gamma(torch.ones(2), 1.0)),
        init=init_to_value(values={"z": torch.tensor([1.0, math.e])}),
        init_scale=0.2,
    ).setup()
    torch.testing.assert_close(guide.loc["z"].detach(), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(guide.scale("z").detach(), torch.full((2,), 0.2))


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="init_scale of AutoNormal must be positive, not 0"):
        AutoNormal(lambda: None, init_scale=0)
