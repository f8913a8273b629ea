import pytest
import torch

import posterity as pt
from posterity.handlers import LocScaleReparam
from tests.statistical import assert_same_distribution

dist, handle = pt.distributions, pt.handlers

loc = torch.tensor([0.5, -2.0], dtype=torch.float64)
scale = torch.tensor([0.3, 4.0], dtype=torch.float64)
FAMILIES = {
    "Normal": lambda m, s: dist.Normal(m, s),
    "Laplace": lambda m, s: dist.Laplace(m, s),
    "Cauchy": lambda m, s: dist.Cauchy(m, s),
    "StudentT": lambda m, s: dist.StudentT(3.5, m, s),
    "Gumbel": lambda m, s: dist.Gumbel(m, s),
    "Logistic": lambda m, s: dist.Logistic(m, s),
    "AsymmetricLaplace": lambda m, s: dist.AsymmetricLaplace(m, s, 1.7),
    "Moyal": lambda m, s: dist.Moyal(m, s),
    "SkewNormal": lambda m, s: dist.SkewNormal(m, s, 2.0),
    "SinhArcsinh": lambda m, s: dist.SinhArcsinh(m, s, 0.4, 1.3),
    "JohnsonSU": lambda m, s: dist.JohnsonSU(0.7, 1.5, m, s),
}


def log_densities(family, centered, noise):
    """Of the value under its family, and of the noise that it is made of."""

    def model():
        pt.sample("x", family(loc, scale))

    changed = handle.reparam(model, {"x": LocScaleReparam(centered)})
    trace = handle.trace(handle.substitute(changed, {"x_decentered": noise})).get_trace()
    assert trace["x"].kind == "deterministic"
    return family(loc, scale).log_prob(trace["x"].value), trace["x_decentered"].log_prob()


@pytest.mark.parametrize("centered", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_density_is_the_same_after_the_change_of_variables(family, centered):
    if centered == 1.0:
        trace = handle.trace(
            handle.reparam(lambda: pt.sample("x", FAMILIES[family](loc, scale)), {"x": LocScaleReparam(1.0)})
        ).get_trace()
        assert [site.name for site in trace.samples()] == ["x"]
        return
    # Where the noise's own median and some point beside it lie.
    noise = torch.tensor([0.2, 1.1], dtype=torch.float64)
    density, noise_density = log_densities(FAMILIES[family], centered, noise)
    # dx / dz = scale ** (1 - centered)
    torch.testing.assert_close(density + (1 - centered) * scale.log(), noise_density, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("centered", [0.0, 0.6, None])
def test_draws_have_the_distribution_that_they_had(centered):
    def model():
        with pt.plate("data", 4000):
            return pt.sample("x", dist.StudentT(5.0, 3.0, 2.0))

    assert_same_distribution(handle.reparam(model, {"x": LocScaleReparam(centered)})(), model())


def test_gradients_reach_location_and_scale():
    location, width = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    model = handle.reparam(lambda: pt.sample("x", dist.Normal(location, width)), {"x": LocScaleReparam(0.25)})
    value = handle.substitute(model, {"x_decentered": torch.tensor(1.5)})()
    value.backward()
    # x = m + s^0.75 (z - m / 4)
    torch.testing.assert_close(location.grad, torch.tensor(1 - 0.25 * 2**0.75))
    torch.testing.assert_close(width.grad, torch.tensor(0.75 * 2**-0.25 * 1.25))


def test_the_fraction_may_be_learnt():
    def model():
        with pt.plate("data", 5):
            pt.sample("x", dist.Normal(torch.zeros(3), 2.0).to_event(1))

    changed = handle.reparam(model, {"x": LocScaleReparam()})
    trace = handle.trace(changed).get_trace()
    assert trace["x_centered"].kind == "param"
    torch.testing.assert_close(trace["x_centered"].value, torch.full((3,), 0.5))
    assert trace["x_decentered"].value.shape == (5, 3)

    fraction = torch.full((3,), 0.5, requires_grad=True)
    replaced = handle.substitute(changed, {"x_centered": fraction})
    handle.trace(replaced).get_trace().log_prob_sum().backward()
    assert (fraction.grad != 0).all()


def test_plates_events_and_scales_stay():
    def model():
        with pt.plate("data", 10, subsample_size=5):
            pt.sample("x", dist.Normal(torch.zeros(3), 2.0).to_event(1))

    site = handle.trace(handle.reparam(model, {"x": LocScaleReparam(0.0)})).get_trace()["x_decentered"]
    assert site.batch_shape == (5,)
    assert site.distribution.event_shape == (3,)
    assert site.scale == 2.0


def test_what_is_no_location_scale_family_is_refused():
    model = handle.reparam(lambda: pt.sample("x", dist.LogNormal(0.0, 1.0)), {"x": LocScaleReparam(0.0)})
    with pytest.raises(TypeError, match="LocScaleReparam: site 'x' has a LogNormal, which is no location-scale family"):
        model()


@pytest.mark.parametrize("centered", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_of_its_interval_is_refused(centered):
    with pytest.raises(ValueError, match="centered of LocScaleReparam must lie between 0 and 1"):
        LocScaleReparam(centered)
