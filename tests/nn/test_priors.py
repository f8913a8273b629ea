"""Priors: recipes, the buffers that they make, and what is refused."""

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from posterity.nn.priors import as_prior
from tests.statistical import assert_normal_variance

ALL = {
    "normal": torch.distributions.Normal(0.0, 1.0),
    "laplace": dist.Laplace(0.0, 0.1),
    "student": torch.distributions.StudentT(3.0),
    "per column": torch.distributions.Normal(0.0, torch.linspace(0.1, 2.0, 4)),
    "expanded": torch.distributions.Normal(0.0, 1.0).expand([3, 4]),
    "pretrained": "pretrained",
    "fan in": bnn.FanIn(),
    "mixture": bnn.ScaleMixture(),
}
each_prior = pytest.mark.parametrize("prior", ALL.values(), ids=ALL)


@each_prior
def test_prior_tensors_are_buffers_that_move_and_are_saved(prior):
    layer = bnn.Linear(4, 3, bias=False, prior=prior)
    buffers = dict(layer.named_buffers())
    assert buffers
    assert all(name.startswith("weight_prior_") for name in buffers)
    assert all(b.dtype == torch.float64 for b in layer.double().buffers())
    assert bnn.kl_divergence(layer).dtype == torch.float64
    assert all(b.is_meta for b in copy.deepcopy(layer).to("meta").buffers())


@each_prior
def test_state_dict_carries_the_prior_into_another_layer(prior):
    source, target = (nn.Sequential(bnn.Linear(4, 3, bias=False, prior=prior)) for _ in range(2))
    with torch.no_grad():
        for buffer in source.buffers():
            buffer *= 1.5
    target.load_state_dict(source.state_dict())
    for a, b in zip(source.buffers(), target.buffers(), strict=True):
        assert torch.equal(a, b)


@each_prior
def test_safetensors_round_trip(prior):
    net = nn.Sequential(bnn.Linear(4, 3, bias=False, prior=prior), bnn.Linear(3, 3, bias=False, prior="pretrained"))
    restored = load(save(net.state_dict()))
    fresh = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in fresh.state_dict().values():
            tensor.zero_()
    fresh.load_state_dict(restored)
    for name, tensor in net.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)


def test_a_users_distribution_is_left_alone():
    mine = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    layer = bnn.Linear(4, 3, prior=mine)
    with torch.no_grad():
        layer.weight_prior_scale.fill_(9.0)
    assert mine.scale == 1
    assert layer.bias_prior_scale == 1


def test_fan_in_keeps_the_size_of_what_passes():
    # For unit inputs, a sum of fan_in weights of variance gain^2 / fan_in has variance gain^2.
    recipe = bnn.FanIn(gain=1.5)
    for shape in ((2000, 50), (2000, 5, 3, 3)):
        prior = recipe.distribution(recipe.init(torch.zeros(shape, dtype=torch.float64)))
        outputs = prior.sample(shape).flatten(1).sum(1)
        assert_normal_variance(outputs, torch.tensor(1.5**2))


def test_scale_mixture_normalises_its_probs():
    recipe = bnn.ScaleMixture(scales=(1.0, 0.1), probs=(1.0, 3.0))
    prior = recipe.distribution(recipe.init(torch.zeros(2, dtype=torch.float64)))
    torch.testing.assert_close(prior.variance, torch.tensor(0.25 + 0.75 * 0.01).double())
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    parts = [torch.distributions.Normal(0.0, s).log_prob(x).exp() for s in (1.0, 0.1)]
    torch.testing.assert_close(prior.log_prob(x).exp(), (0.25 * parts[0] + 0.75 * parts[1]).double())


def test_pretrained_is_centred_and_as_wide_as_asked():
    value = torch.randn(4, 3)
    narrow, wide = (bnn.Pretrained(relative_scale=s).init(value) for s in (0.5, 2.0))
    assert torch.equal(narrow["loc"], value)
    assert narrow["loc"].data_ptr() != value.data_ptr()
    torch.testing.assert_close(wide["scale"], 4 * narrow["scale"])


def test_a_prior_of_a_users_own():
    class Sparse(pt.nn.Prior):
        def init(self, value):
            return {"scale": value.abs().mean()}

        def distribution(self, tensors):
            return dist.Laplace(torch.zeros_like(tensors["scale"]), tensors["scale"])

    layer = bnn.Linear(4, 3, prior=Sparse())
    assert layer.weight_prior_scale > 0
    assert bnn.kl_divergence(layer).isfinite()


def test_as_prior_takes_recipes_distributions_and_one_word():
    recipe = bnn.FanIn()
    assert as_prior(recipe) is recipe
    assert isinstance(as_prior("pretrained"), bnn.Pretrained)
    assert isinstance(as_prior(dist.Normal(0.0, 1.0)), bnn.Fixed)


@pytest.mark.parametrize("prior", [3, 0.1, "normal", object, torch.zeros(2)])
def test_what_is_no_prior_is_refused(prior):
    with pytest.raises(TypeError, match=r"prior must be a distribution such as Normal\(0, 1\)"):
        bnn.Linear(2, 2, prior=prior)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bnn.Pretrained(relative_scale=0.0), "Pretrained: relative_scale must be positive"),
        (lambda: bnn.Pretrained(relative_scale=float("nan")), "Pretrained: relative_scale must be positive"),
        (lambda: bnn.FanIn(gain=-1.0), "FanIn: gain must be positive"),
        (lambda: bnn.ScaleMixture(scales=(1.0,)), "as many probs as scales, got 2 and 1"),
        (lambda: bnn.ScaleMixture(scales=(), probs=()), "as many probs as scales"),
        (lambda: bnn.ScaleMixture(scales=(1.0, 0.0)), "scales and probs must be positive"),
        (lambda: bnn.ScaleMixture(probs=(1.0, -1.0)), "scales and probs must be positive"),
        (lambda: as_prior(torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))), "single numbers"),
        (
            lambda: bnn.Linear(4, 3, prior=torch.distributions.Normal(torch.zeros(5), 1.0)),
            r"batch shape \[5\].*\[3, 4\]",
        ),
    ],
)
def test_what_is_no_recipe_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "base",
    [
        torch.distributions.Categorical(torch.ones(3)),
        torch.distributions.Poisson(1.0),
        torch.distributions.Exponential(1.0),
        torch.distributions.Uniform(-1.0, 1.0),
        torch.distributions.HalfNormal(1.0),
        torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)),
    ],
    ids=lambda base: type(base).__name__,
)
def test_a_prior_must_cover_the_real_line(base):
    with pytest.raises(ValueError, match="single numbers of the whole real line"):
        bnn.Linear(2, 2, prior=base)
