import pytest
import torch

import posterity as pt
from posterity.handlers import AutoReparam

dist, handle = pt.distributions, pt.handlers


def names(program, *args):
    return [site.name for site in handle.trace(program).get_trace(*args).samples()]


def hierarchy(y=None):
    mu = pt.sample("mu", dist.Normal(0.0, 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(5.0))
    with pt.plate("groups", 4):
        theta = pt.sample("theta", dist.Normal(mu, tau))
        pt.sample("y", dist.Normal(theta, 1.0), obs=y)


def test_what_depends_on_latent_variables_is_non_centred():
    assert names(handle.reparam(hierarchy, config=AutoReparam()), torch.zeros(4)) == [
        "mu",
        "tau",
        "theta_decentered",
        "y",
    ]


def test_the_second_run_is_as_the_first():
    changed = handle.reparam(hierarchy, config=AutoReparam())
    assert names(changed) == names(changed) == ["mu", "tau", "theta_decentered", "y_decentered"]


def test_dependence_through_networks_and_deterministic_sites_is_seen():
    network = torch.nn.Linear(1, 1)

    def model():
        z = pt.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        mean = pt.deterministic("mean", network(z))
        pt.sample("x", dist.Normal(mean, 1.0).to_event(1))
        pt.sample("alone", dist.Normal(network(torch.ones(1)), 1.0).to_event(1))

    assert names(handle.reparam(model, AutoReparam())) == ["z", "x_decentered", "alone"]


def test_dependence_on_data_does_not_count():
    def model(y):
        x = pt.sample("x", dist.Normal(0.0, 1.0))
        first = pt.sample("first", dist.Normal(x, 1.0), obs=y)
        pt.sample("second", dist.Normal(first, 1.0))

    assert names(handle.reparam(model, AutoReparam()), torch.tensor(1.0)) == ["x", "first", "second"]


def test_transformed_distributions_are_drawn_before_their_transforms_and_then_non_centred():
    def model():
        mu = pt.sample("mu", dist.Normal(0.0, 1.0))
        pt.sample("x", dist.LogNormal(mu, 1.0))
        pt.sample("w", dist.LogNormal(0.0, 1.0))

    assert names(handle.reparam(model, AutoReparam())) == ["mu", "x_base_decentered", "w_base"]


def test_the_fraction_may_be_learnt():
    trace = handle.trace(handle.reparam(hierarchy, AutoReparam(centered=None))).get_trace()
    assert trace["theta_centered"].kind == "param"


def test_a_run_that_fails_decides_nothing():
    def model(fail):
        mu = pt.sample("mu", dist.Normal(0.0, 1.0))
        if fail:
            raise ArithmeticError
        pt.sample("x", dist.Normal(mu, 1.0))

    changed = handle.reparam(model, AutoReparam())
    with pytest.raises(ArithmeticError):
        changed(True)
    assert names(changed, False) == ["mu", "x_decentered"]


def test_a_fraction_outside_of_its_interval_is_refused():
    with pytest.raises(ValueError, match="centered of LocScaleReparam must lie between 0 and 1"):
        AutoReparam(centered=2.0)
