from types import SimpleNamespace

import pytest
import torch

import posterity as pt
from posterity.bijectors import ScaleMatvecTriL, Tanh, bijector_to
from posterity.handlers import NeuTraReparam
from tests.statistical import assert_same_distribution

dist, handle = pt.distributions, pt.handlers


def model(y=None):
    tau = pt.sample("tau", dist.Exponential(torch.tensor(2.0, dtype=torch.float64)))
    with pt.plate("groups", 2), handle.scale(scale=3.0):
        theta = pt.sample("theta", dist.Normal(0.0, tau))
        pt.sample("y", dist.Normal(theta, 1.0), obs=y)


class Flow:
    """A guide whose flow is known: correlated and bent."""

    latents = {
        "tau": SimpleNamespace(bijector=bijector_to(torch.distributions.constraints.positive)),
        "theta": SimpleNamespace(bijector=bijector_to(torch.distributions.constraints.real)),
    }

    def get_posterior(self):
        tril = torch.tensor([[1.0, 0, 0], [0.5, 2.0, 0], [-1.0, 0.3, 0.7]], dtype=torch.float64)
        noise = dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1)
        return dist.TransformedDistribution(noise, [ScaleMatvecTriL(tril), pt.bijectors.Independent(Tanh(), 1)])

    def unpack(self, vector):
        return {"tau": vector[..., 0], "theta": vector[..., 1:]}


y = torch.tensor([1.0, -0.5], dtype=torch.float64)
noise = torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)
neutra = NeuTraReparam(Flow())


def density_of_noise(z):
    given = handle.substitute(neutra.reparam(model), {"auto_shared_latent": z})
    return handle.trace(given).get_trace(y).log_prob_sum()


def constrained(z):
    """All latent variables as one vector, by the flow."""
    values = neutra.transform_sample(z)
    return torch.cat([values["tau"].reshape(1), values["theta"]])


def test_the_density_is_the_same_after_the_change_of_variables():
    values = neutra.transform_sample(noise)
    original = handle.trace(handle.substitute(model, values)).get_trace(y).log_prob_sum()
    log_det = torch.autograd.functional.jacobian(constrained, noise).det().abs().log()
    torch.testing.assert_close(density_of_noise(noise), original + log_det, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(density_of_noise, noise.clone().requires_grad_())


def test_the_program_sees_the_transported_values():
    trace = handle.trace(handle.substitute(neutra.reparam(model), {"auto_shared_latent": noise})).get_trace(y)
    assert [site.name for site in trace.latents()] == ["auto_shared_latent"]
    for name, value in neutra.transform_sample(noise).items():
        torch.testing.assert_close(trace[name].value, value)
        assert trace[name].kind == "deterministic"


def test_the_noise_stands_outside_of_plates():
    def inside(y):
        with pt.plate("groups", 2):
            pt.sample("theta", dist.Normal(0.0, torch.ones((), dtype=torch.float64)))

    site = handle.trace(handle.reparam(inside, {"theta": neutra})).get_trace(y)["auto_shared_latent"]
    assert site.plates == ()
    assert site.value.shape == (3,)


def test_each_run_draws_anew():
    changed = handle.trace(neutra.reparam(model))
    first, second = (changed.get_trace(y)["auto_shared_latent"].value for _ in range(2))
    assert not torch.equal(first, second)


def test_it_runs_under_vmap():
    many = torch.stack([noise, -noise])
    torch.testing.assert_close(torch.vmap(density_of_noise)(many), torch.stack([density_of_noise(z) for z in many]))


def test_many_draws_are_transported_at_once():
    values = neutra.transform_sample(noise.expand(4, 5, 3))
    assert values["tau"].shape == (4, 5)
    assert values["theta"].shape == (4, 5, 2)


@pytest.mark.parametrize("family", ["AutoIAF", "AutoSpline"])
def test_the_librarys_flow_guides_are_taken(family):
    guide = getattr(pt.infer, family)(model).setup(y)
    ours = NeuTraReparam(guide)
    with torch.no_grad():
        draws = torch.randn(2000, 3, dtype=torch.float64)
        transported = ours.transform_sample(draws)
        drawn = guide.sample_posterior((2000,))
    assert_same_distribution(transported["tau"], drawn["tau"])
    assert_same_distribution(transported["theta"][:, 1], drawn["theta"][:, 1])
    assert handle.trace(ours.reparam(model)).get_trace(y).log_prob_sum().isfinite()


def test_a_guide_that_was_never_set_up_is_refused():
    with pytest.raises(ValueError, match="NeuTraReparam: the guide has not been set up: train it first"):
        NeuTraReparam(pt.infer.AutoIAF(model))


def test_a_guide_without_a_flow_is_refused():
    class Normal(Flow):
        def get_posterior(self):
            return dist.Normal(torch.zeros(3), 1.0).to_event(1)

    with pytest.raises(TypeError, match="NeuTraReparam: Normal has no flow"):
        NeuTraReparam(Normal())


def test_what_is_no_guide_is_refused():
    with pytest.raises(TypeError, match="NeuTraReparam: guide must be one with a flow .* not int"):
        NeuTraReparam(3)
