"""AutoIAF and AutoSpline: what a normal distribution cannot follow, with exact densities."""

import pytest
import torch

import posterity as pt
from posterity.handlers import trace
from posterity.infer import AutoIAF, AutoMultivariateNormal, AutoSpline, init_to_value
from tests.infer.guides.fitting import bounds, fit
from tests.statistical import quantile

dist = pt.distributions


def banana():
    """A normalised density: the bound is minus the KL divergence."""
    first = pt.sample("first", dist.Normal(torch.zeros(()), 1.0))
    pt.sample("second", dist.Normal(first.square(), 0.3))


def test_a_flow_follows_a_banana_better_than_any_normal_distribution():
    normal, *flows = (
        -bounds(banana, fit(banana, make(banana), steps=120), 2000)
        for make in (AutoMultivariateNormal, AutoIAF, AutoSpline)
    )
    for flow in flows:
        error = (flow.var() / 2000 + normal.var() / 2000).sqrt()
        assert flow.mean() + quantile() * error < normal.mean()


@pytest.mark.parametrize("make", [AutoIAF, AutoSpline])
def test_a_flow_starts_as_the_normal_distribution_of_init(make):
    guide = make(
        lambda: pt.sample("z", dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0)),
        init=init_to_value(values={"z": torch.tensor([1.0, 2.0, 3.0])}),
        init_scale=0.2,
    ).setup()
    at = torch.tensor([1.1, 2.0, 2.8], dtype=torch.float64)
    expected = torch.distributions.Normal(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), 0.2).log_prob(at).sum()
    torch.testing.assert_close(guide.get_posterior().log_prob(at), expected)


@pytest.mark.parametrize("make", [AutoIAF, AutoSpline])
@pytest.mark.parametrize("size", [1, 3])
def test_the_density_of_a_draw_is_the_density_at_its_value(make, size):
    guide = make(lambda: pt.sample("z", dist.Normal(torch.zeros(size, dtype=torch.float64), 1.0))).setup()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    site = trace(guide).get_trace()["_auto_latent"]
    # Detached, the value is another tensor, so that the flow is run backwards.
    torch.testing.assert_close(site.log_prob(), guide.get_posterior().log_prob(site.value.detach()), rtol=1e-7, atol=0)


def test_its_parameters_follow_the_seed_and_leave_the_generator_alone():
    def model():
        pt.sample("z", dist.Normal(torch.zeros(2), 1.0))

    def made(number):
        with pt.handlers.seed(rng_seed=number):
            return AutoIAF(model).setup()

    before = torch.get_rng_state()
    first, again, other = made(0).state_dict(), made(0).state_dict(), made(1).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_medians_are_those_of_draws_and_the_same_at_each_call():
    guide = AutoIAF(lambda: pt.sample("z", dist.Gamma(torch.tensor(2.0), 1.0)), init_scale=0.5).setup()
    expected = guide.loc.detach().exp()[0]
    # 4096 draws: 5 standard errors of the median, 1.25 * 0.5 / 64, on the logarithm.
    torch.testing.assert_close(guide.median()["z"].log(), expected.log(), rtol=0, atol=0.05)
    assert torch.equal(guide.median()["z"], guide.median()["z"])
