"""The joint normal distribution of a model's latent variables is found, or what hinders it is named."""

import math

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.handlers import LocScaleReparam, config_enumerate, mask, reparam, scale
from posterity.infer.mcmc.gaussian_prior import GaussianPotential, GaussianPrior


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


FACTOR = double([2.0, 0.0], [-1.0, 0.5])


def test_the_blocks_stand_in_the_order_of_the_vector():
    def model():
        pt.sample("a", dist.Normal(double(1.0)[0], 2.0))
        with pt.plate("rows", 2):
            pt.sample("b", dist.MultivariateNormal(double(3.0, 4.0), scale_tril=FACTOR))
            pt.sample("c", dist.Normal(double(5.0, 6.0, 7.0), 0.5).to_event(1))
        pt.sample("d", dist.LowRankMultivariateNormal(double(0.0, 1.0), double([1.0], [0.0]), double(1.0, 2.0)))

    prior = GaussianPotential(model).prior
    assert prior.loc.tolist() == [1, 3, 4, 3, 4, 5, 6, 7, 5, 6, 7, 0, 1]
    half = torch.full((6,), 0.5, dtype=torch.float64).diag()
    low_rank = double(2.0, 2.0).sqrt().diag()
    torch.testing.assert_close(prior.scale, torch.block_diag(double([2.0]), FACTOR, FACTOR, half, low_rank))


def test_independent_variables_have_standard_deviations():
    def model():
        with pt.plate("data", 3):
            pt.sample("a", dist.Normal(double(1.0)[0], double(1.0, 2.0, 3.0)))

    prior = GaussianPotential(model).prior
    assert prior.scale.tolist() == [1, 2, 3]


@pytest.mark.parametrize("scale", [double(2.0, 0.5), FACTOR])
def test_density_and_draws_are_those_of_the_normal_distribution(scale):
    prior = GaussianPrior(double(1.0, -1.0), scale)
    factor = scale if scale.dim() == 2 else scale.diag()
    reference = torch.distributions.MultivariateNormal(prior.loc, scale_tril=factor)
    z = torch.randn(4, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(prior.log_density(z), reference.log_prob(z))
    torch.testing.assert_close(prior.spread(z)[1, 2], factor @ z[1, 2])


def test_masks_scales_and_factors_belong_to_the_likelihood():
    def model():
        with scale(scale=2.0):
            a = pt.sample("a", dist.Normal(double(0.0)[0], 1.0))
        with mask(mask=False):
            pt.sample("b", dist.Normal(double(0.0)[0], 1.0))
        pt.factor("bonus", 3 * a)

    potential = GaussianPotential(model)
    z = double(0.5, -0.7)
    own = -(z**2) / 2 - math.log(2 * math.pi) / 2
    torch.testing.assert_close(potential.prior.log_density(z), own.sum())
    torch.testing.assert_close(potential.log_likelihood(z), own[0] - own[1] + 1.5)


def test_parameters_and_data_may_be_in_the_prior():
    def model(x):
        loc = pt.param("loc", lambda: torch.rand((), dtype=torch.float64))
        y = pt.sample("y", dist.Normal(pt.sample("base", dist.Normal(loc, 1.0)), 1.0), obs=x)
        pt.sample("z", dist.Normal(y, 2.0))

    potential = GaussianPotential(model, (double(4.0)[0],))
    assert potential.prior.loc[1] == 4
    assert not potential.prior.loc.requires_grad


def test_marked_discrete_variables_are_summed_out_of_the_likelihood():
    def model():
        a = pt.sample("a", dist.Normal(double(1.0)[0], 2.0))
        k = pt.sample("k", dist.Bernoulli(0.3))
        pt.sample("x", dist.Normal(a + k, 1.0), obs=double(0.0)[0])

    potential = GaussianPotential(config_enumerate(model))
    z = double(0.4)
    means = torch.stack([z[0], z[0] + 1])
    parts = double(0.7, 0.3).log() - means**2 / 2 - math.log(2 * math.pi) / 2
    assert potential.prior.loc.tolist() == [1]
    torch.testing.assert_close(potential.log_likelihood(z), parts.logsumexp(0))


def test_a_prior_that_is_not_normal_names_its_site():
    def model():
        pt.sample("a", dist.Normal(0.0, 1.0))
        pt.sample("b", dist.HalfNormal(torch.ones(2)).to_event(1))

    with pytest.raises(ValueError, match="site 'b' has the prior HalfNormal, but every latent variable must be Normal"):
        GaussianPotential(model)


def hierarchy():
    mu = pt.sample("mu", dist.Normal(0.0, 1.0))
    middle = pt.deterministic("middle", 2 * mu)
    pt.sample("other", dist.Normal(0.0, 1.0))
    pt.sample("theta", dist.Normal(middle, 1.0))


def test_a_prior_that_depends_on_another_variable_names_both():
    with pytest.raises(ValueError, match=r"prior of site 'theta' depends on 'mu', but .* LocScaleReparam"):
        GaussianPotential(hierarchy)


def test_what_the_message_advises_helps():
    potential = GaussianPotential(reparam(hierarchy, config={"theta": LocScaleReparam(0.0)}))
    assert potential.prior.scale.tolist() == [1, 1, 1]


def test_a_dependence_on_a_discrete_variable_is_named():
    def model():
        k = pt.sample("k", dist.Bernoulli(0.3))
        pt.sample("a", dist.Normal(k, 1.0))

    with pytest.raises(ValueError, match="prior of site 'a' depends on 'k'"):
        GaussianPotential(config_enumerate(model))


def test_a_dependence_that_tensors_do_not_show_is_found_by_comparison():
    def model():
        a = pt.sample("a", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("b", dist.Normal(1.0 if a > 0 else -1.0, 1.0))

    with pytest.raises(ValueError, match="the latent variables are not one normal distribution"):
        GaussianPotential(model)
