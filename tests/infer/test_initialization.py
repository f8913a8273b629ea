"""The strategies for where a latent variable starts."""

import math

import pytest
import torch

import posterity as pt
from posterity.infer import (
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from posterity.infer.start import find_start
from posterity.kernels import Key
from tests.statistical import assert_same_distribution

dist = pt.distributions
STRATEGIES = [
    init_to_median,
    init_to_mean,
    init_to_sample,
    init_to_uniform,
    init_to_feasible,
    init_to_value(values={}),
    init_to_value(values={"positive": 2.0}, fallback=init_to_uniform),
]


def model():
    """Every kind of support."""
    one = torch.ones((), dtype=torch.float64)
    pt.sample("real", dist.Normal(5 * one, 0.1))
    pt.sample("positive", dist.Gamma(3 * one, 1.0))
    pt.sample("interval", dist.Uniform(one, 2.0))
    pt.sample("shares", dist.Dirichlet(one.expand(3)))
    pt.sample("correlation", dist.LKJCholesky(3, one))
    pt.sample("direction", dist.VonMisesFisher(torch.eye(3, dtype=torch.float64)[0], one))
    pt.sample("heavy", dist.Cauchy(0 * one, 1.0))
    with pt.plate("data", 2):
        pt.sample("vector", dist.MultivariateNormal(one.expand(2), torch.eye(2, dtype=torch.float64)))


@pytest.mark.parametrize("init", STRATEGIES)
def test_every_strategy_gives_a_value_inside_every_support(init):
    start = find_start(model, init=init)
    for site in start.trace.latents():
        assert site.distribution.support.check(site.value).all()
        assert not site.value.requires_grad
        expected = pt.bijectors.bijector_to(site.distribution.support).forward(start.unconstrained[site.name])
        torch.testing.assert_close(site.value, expected)


def test_a_strategy_called_without_a_site_is_the_strategy_with_its_settings():
    for plain in (init_to_mean, init_to_sample, init_to_feasible):
        assert plain() is plain
    assert find_start(model, init=init_to_uniform(radius=1e-3)).unconstrained["real"].abs() < 1e-3


def test_the_median_is_that_of_draws():
    def skewed():
        pt.sample("z", dist.LogNormal(torch.zeros(200), 1.0))

    found = find_start(skewed, init=init_to_median(num_samples=401)).unconstrained["z"]
    # A median of 401 draws has a standard error of 1.2533 / 401**0.5.
    assert found.abs().max() < 6 * 1.2533 / math.sqrt(401)
    assert found.abs().max() > 0


def test_the_mean_is_the_priors_and_the_median_where_it_has_none():
    start = find_start(model, init=init_to_mean)
    assert start.trace["real"].value == 5
    assert start.trace["positive"].value == pytest.approx(3)
    assert start.trace["heavy"].value.isfinite()


def test_a_sample_is_a_draw_from_the_prior():
    def many():
        pt.sample("z", dist.Gamma(torch.full((5000,), 2.0), 3.0))

    drawn = find_start(many, init=init_to_sample).trace["z"].value
    assert_same_distribution(drawn, dist.Gamma(2.0, 3.0).sample((5000,), generator=Key(3)))


def test_uniform_fills_the_cube_of_its_radius():
    def many():
        pt.sample("z", dist.Gamma(torch.full((5000,), 2.0), 3.0))

    found = find_start(many, init=init_to_uniform(radius=3.0)).unconstrained["z"]
    assert_same_distribution(found, 6 * torch.rand(5000) - 3)


def test_feasible_is_the_image_of_zero():
    start = find_start(model, init=init_to_feasible)
    assert all((value.abs() < 1e-12).all() for value in start.unconstrained.values())


def test_values_are_given_and_broadcast_and_others_fall_back():
    init = init_to_value(values={"vector": 1.5, "positive": torch.tensor(2.0)}, fallback=init_to_feasible)
    start = find_start(model, init=init)
    assert start.trace["vector"].value.tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert start.trace["positive"].value == pytest.approx(2)
    assert start.unconstrained["real"] == 0


def test_a_prior_without_draws_starts_uniformly_on_unconstrained_space():
    def flat():
        pt.sample("z", dist.ImproperUniform(torch.distributions.constraints.positive, event_shape=(1000,)))

    for init in (init_to_median, init_to_mean, init_to_sample, init_to_uniform):
        found = find_start(flat, init=init, source=Key(0)).unconstrained["z"]
        assert found.shape == (1000,)
        assert_same_distribution(found, torch.linspace(-2, 2, 100_000))


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"init_to_value: the value of site 'real' has shape \(2,\), which does not"):
        find_start(model, init=init_to_value(values={"real": torch.zeros(2)}))
    with pytest.raises(ValueError, match=r"init gave site 'real' a value of shape \(3,\), but the site's is \(\)"):
        find_start(model, init=lambda site: torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError) as caught:
        find_start(model, init=init_to_value(values={"positive": -1.0}))
    assert "init gave site 'positive' a value outside of its support" in "\n".join(caught.value.__notes__)


def test_a_radius_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="radius of init_to_uniform must be positive, not 0"):
        init_to_uniform(radius=0)
