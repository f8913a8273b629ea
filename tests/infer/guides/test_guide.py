"""What every automatic guide keeps: set-up, state, randomness, plates, graphs; and what it refuses."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

import posterity as pt
from posterity.handlers import replay, seed, trace
from posterity.infer import (
    AutoDelta,
    AutoIAF,
    AutoLaplace,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoSpline,
    AutoStructured,
    init_to_mean,
)
from posterity.kernels import Key
from posterity.runtime import without_validation
from tests.infer.guides.fitting import bound

dist = pt.distributions
LOCAL = [AutoNormal, AutoDelta, AutoStructured]
JOINT = [AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoIAF, AutoSpline, AutoLaplace]
X = torch.tensor([0.5, -1.0, 2.0])


def model(x=X):
    """Every kind of support, a dotted name and the name of a module's method, nested plates."""
    loc = pt.sample("net.loc", dist.Normal(x.new_zeros(()), 1.0))
    scale = pt.sample("half", dist.HalfNormal(x.new_ones(())))
    pt.sample("shares", dist.Dirichlet(x.new_ones(3)))
    pt.sample("correlation", dist.LKJCholesky(2, x.new_ones(())))
    with pt.plate("data", 3):
        z = pt.sample("z", dist.Normal(loc, scale))
        with pt.plate("inner", 2):
            pt.sample("u", dist.Uniform(x.new_zeros(()), 2.0))
        pt.sample("x", dist.Normal(z, 1.0), obs=x)


SHAPES = {"net.loc": (), "half": (), "shares": (3,), "correlation": (2, 2), "z": (3,), "u": (2, 3)}


def of_shape(values):
    return {name: tuple(value.shape) for name, value in values.items()}


def moved(guide):
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return guide


@pytest.mark.parametrize("make", LOCAL + JOINT)
class TestEveryGuide:
    def test_parameters_are_made_by_the_first_call(self, make):
        guide = make(model)
        assert list(guide.parameters()) == []
        assert "not set up" in repr(guide)
        assert of_shape(guide()) == SHAPES
        parameters = list(guide.parameters())
        assert parameters
        assert all(p.requires_grad and p.dtype == torch.float32 for p in parameters)
        assert list(guide.setup().parameters()) == parameters

    def test_its_sites_are_those_of_the_model_with_the_same_plates(self, make):
        drawn = trace(make(model)).get_trace()
        run = trace(replay(model, drawn)).get_trace()
        for name in SHAPES:
            assert drawn[name].batch_shape == run[name].batch_shape
            assert drawn[name].plates == run[name].plates
            assert run[name].value is drawn[name].value
        assert all(site.infer.get("is_auxiliary") for site in drawn.latents() if site.name not in SHAPES)

    def test_copies_and_pickles_draw_the_same_and_are_independent(self, make):
        guide = moved(make(model).setup())
        draws = guide.sample_posterior((2,), generator=3)
        for other in (copy.deepcopy(guide), pickle.loads(pickle.dumps(guide))):
            again = other.sample_posterior((2,), generator=3)
            assert all(torch.equal(draws[name], again[name]) for name in SHAPES)
            moved(other)
            assert not torch.equal(other.sample_posterior((2,), generator=3)["z"], draws["z"])

    def test_state_goes_from_one_guide_to_another(self, make):
        guide, other = moved(make(model).setup()), make(model)
        with pytest.raises(RuntimeError, match=r"has no parameters to load into: call setup\(\*args\)"):
            other.load_state_dict(guide.state_dict())
        other.setup().load_state_dict(guide.state_dict())
        one, two = guide.sample_posterior((2,), generator=3), other.sample_posterior((2,), generator=3)
        assert all(torch.equal(one[name], two[name]) for name in SHAPES)

    def test_a_seed_decides_set_up_and_draws(self, make):
        def run(number):
            with seed(rng_seed=number):
                guide = make(model)
                return guide(), guide.sample_posterior((2,)), guide.sample_posterior((2,))

        first, again, other = run(0), run(0), run(1)
        for i in range(3):
            assert all(torch.equal(first[i][name], again[i][name]) for name in SHAPES)
        assert not torch.equal(first[0]["z"], other[0]["z"])
        if make not in (AutoDelta, AutoLaplace):
            assert not torch.equal(first[1]["z"], first[2]["z"])

    def test_draws_are_of_the_sample_shape_and_without_gradient(self, make):
        guide = make(model)
        for shape, lead in ((), ()), ((4,), (4,)), (5, (5,)), ((2, 3), (2, 3)):
            draws = guide.sample_posterior(shape, generator=Key(0))
            assert of_shape(draws) == {name: lead + event for name, event in SHAPES.items()}
            assert not any(value.requires_grad for value in draws.values())

    def test_quantiles_ascend_inside_the_support(self, make):
        guide = moved(make(model, init=init_to_mean))
        found = guide.quantiles(torch.tensor([0.1, 0.5, 0.9]))
        assert of_shape(found) == {name: (3, *event) for name, event in SHAPES.items()}
        assert of_shape(guide.median()) == SHAPES
        for name in SHAPES:
            assert (found[name].diff(dim=0) >= 0).all()
        assert (found["half"] > 0).all()
        assert ((found["u"] > 0) & (found["u"] < 2)).all()

    def test_double_precision_reaches_everything(self, make):
        guide = make(model).setup(X.double())
        assert {p.dtype for p in guide.parameters()} == {torch.float64}
        assert {value.dtype for value in guide(X.double()).values()} == {torch.float64}
        assert bound(model, guide, X.double()).dtype == torch.float64
        assert {v.dtype for v in guide.float().sample_posterior((2,)).values()} == {torch.float32}

    def test_gradients_can_be_captured_and_vectorised(self, make):
        def small(x):
            loc = pt.sample("net.loc", dist.Normal(x.new_zeros(()), 1.0))
            shares = pt.sample("shares", dist.Dirichlet(x.new_ones(2)))
            with pt.plate("data", 3):
                pt.sample("x", dist.Normal(loc, shares[0]), obs=x)

        guide = moved(make(small).setup(X.double()))
        parameters = {name: p.detach() for name, p in guide.named_parameters()}

        def loss(parameters, words):
            with seed(rng_seed=Key(words)):
                drawn = trace(lambda: functional_call(guide, parameters, (X.double(),))).get_trace()
                run = trace(replay(small, drawn)).get_trace(X.double())
            return drawn.log_prob_sum() - run.log_prob_sum()

        gradient = torch.func.grad(loss)
        keys = torch.stack([key.data for key in Key(0).split(3)])
        eager = gradient(parameters, keys[0])
        with without_validation():
            graph = make_fx(gradient, tracing_mode="fake", _allow_non_fake_inputs=True)(parameters, keys[0])
        captured = graph(parameters, keys[0])
        together = torch.vmap(gradient, (None, 0))(parameters, keys)
        for name in parameters:
            torch.testing.assert_close(captured[name], eager[name])
            torch.testing.assert_close(together[name][0], eager[name])

    def test_a_model_with_other_sites_is_refused(self, make):
        names = ["a"]

        def changing():
            for name in names:
                pt.sample(name, dist.Normal(torch.zeros(()), 1.0))

        guide = make(changing).setup()
        names.append("b")
        with pytest.raises(ValueError, match="the model has latent sites that the guide lacks: 'b'"):
            guide.setup()
        names[:] = ["b"]
        with pytest.raises(ValueError, match="the model has latent sites that the guide lacks: 'b'"):
            guide.setup()
        names[:] = []
        with pytest.raises(ValueError, match="the model has no latent variable that a guide could have"):
            guide.setup()

    def test_a_latent_of_another_shape_is_refused(self, make):
        def growing(size):
            pt.sample("z", dist.Normal(torch.zeros(size), 1.0))

        guide = make(growing).setup(2)
        with pytest.raises(ValueError, match=r"site 'z' has shape \(3,\) in the model, but had shape \(2,\)"):
            guide.setup(3)

    def test_data_of_other_sizes_are_welcome_where_latents_are_global(self, make):
        def minibatch(x):
            z = pt.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with pt.plate("data", 100, subsample_size=len(x)):
                pt.sample("x", dist.Normal(z, 1.0), obs=x)

        guide = make(minibatch)
        assert bound(minibatch, guide, torch.zeros(10)).isfinite()
        assert bound(minibatch, guide, torch.zeros(7)).isfinite()


def test_a_site_that_the_guide_has_and_the_model_lost_is_named():
    names = ["a", "b"]

    def changing():
        for name in names:
            pt.sample(name, dist.Normal(torch.zeros(()), 1.0))

    guide = AutoNormal(changing).setup()
    names.pop()
    with pytest.raises(ValueError, match="the guide has latent sites that the model lacks: 'b'"):
        guide.setup()


def local_model(x):
    with pt.plate("data", 6, subsample_size=2) as taken:
        z = pt.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        scale = pt.sample("scale", dist.HalfNormal(x.new_ones(())))
        pt.sample("x", dist.Normal(z, scale), obs=x[taken])


@pytest.mark.parametrize("make", LOCAL)
class TestLocalLatents:
    def test_each_element_has_parameters_and_a_subsample_uses_its_own(self, make):
        x = torch.arange(6.0)
        guide = make(local_model).setup(x)
        with torch.no_grad():
            guide.loc["z"].copy_(100 * x.reshape(guide.loc["z"].shape))
        for _ in range(5):
            drawn = trace(guide).get_trace(x)
            run = trace(replay(local_model, drawn)).get_trace(x)
            taken = drawn["data"].value
            assert taken.shape == (2,)
            assert torch.equal((drawn["z"].value / 100).round().long(), taken)
            assert torch.equal(run["x"].value, x[taken])
            assert drawn["z"].scale == drawn["scale"].scale == 3

    def test_draws_and_medians_are_of_all_elements(self, make):
        guide = make(local_model)
        x = torch.arange(6.0)
        assert of_shape(guide(x)) == {"z": (2,), "scale": (2,)}
        assert of_shape(guide.sample_posterior((4,), x)) == {"z": (4, 6), "scale": (4, 6)}
        assert of_shape(guide.median(x)) == {"z": (6,), "scale": (6,)}

    def test_a_subsample_that_the_model_is_given_is_given_to_the_guide(self, make):
        def given(taken, x):
            with pt.plate("data", 6, subsample=taken):
                z = pt.sample("z", dist.Normal(x.new_zeros(()), 1.0))
                pt.sample("x", dist.Normal(z, 1.0), obs=x)

        def plates(taken, x):
            return pt.plate("data", 6, subsample=taken)

        with pytest.raises(
            ValueError, match=r"stands in plate 'data', whose subsample the model is given.*create_plates"
        ):
            make(given).setup(torch.tensor([0, 1]), torch.zeros(2))
        guide = make(given, create_plates=plates)
        for taken in ([0, 1], [5, 3, 2]):
            drawn = trace(guide).get_trace(torch.tensor(taken), torch.zeros(len(taken)))
            assert drawn["data"].value.tolist() == taken
            assert drawn["z"].value.shape == (len(taken),)
        assert guide.sample_posterior((4,))["z"].shape == (4, 6)


@pytest.mark.parametrize("make", JOINT)
def test_joint_guides_refuse_subsampled_latents(make):
    with pytest.raises(ValueError, match=r"site 'z' stands in a subsampled plate, and Auto\w+ has one distribution"):
        make(local_model).setup(torch.zeros(6))


@pytest.mark.parametrize("make", JOINT)
def test_joint_guides_refuse_masked_latents(make):
    def partly():
        pt.sample("x", dist.Normal(torch.zeros(2), 1.0), obs=torch.zeros(2), obs_mask=torch.tensor([True, False]))

    with pytest.raises(ValueError, match="site 'x_unobserved' is masked"):
        make(partly).setup()


def test_a_structured_guide_refuses_a_mask_along_a_dimension_that_is_no_plate():
    def partly():
        pt.sample("x", dist.Normal(torch.zeros(2), 1.0), obs=torch.zeros(2), obs_mask=torch.tensor([True, False]))

    with pytest.raises(ValueError, match="site 'x_unobserved' is masked, .* along a batch dimension that is no plate"):
        AutoStructured(partly).setup()


def test_a_mask_in_a_subsampled_plate_is_refused():
    def partly():
        with pt.plate("data", 4, subsample_size=2) as taken:
            pt.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4)[taken], obs_mask=taken > 1)

    with pytest.raises(ValueError, match="site 'x_unobserved' stands in a subsampled plate and is masked"):
        AutoNormal(partly).setup()


@pytest.mark.parametrize("make", [AutoNormal, AutoStructured])
def test_what_is_observed_of_a_partly_observed_variable_does_not_count(make):
    def partly():
        with pt.plate("data", 2):
            mask = torch.tensor([True, False])
            x = pt.sample("x", dist.Normal(torch.zeros(2), 1.0), obs=torch.ones(2), obs_mask=mask)
        pt.sample("y", dist.Normal(x.sum(), 1.0), obs=torch.zeros(()))

    guide = make(partly).setup()
    loc = guide.loc["x_unobserved"]
    gradient = torch.autograd.grad(bound(partly, guide), [loc, guide.raw_scale["x_unobserved"]])
    for part in gradient:
        assert part.flatten()[0] == 0
        assert part.flatten()[1] != 0


def test_bounds_of_supports_go_where_the_guide_goes():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])
    guide = AutoNormal(lambda: pt.sample("u", dist.Uniform(low, high))).setup().double()
    draws = guide.sample_posterior((100,))["u"]
    assert draws.dtype == torch.float64
    assert ((draws > low) & (draws < high)).all()


def test_bounds_that_differ_between_the_elements_of_a_subsample_are_refused():
    def bounded():
        with pt.plate("data", 4, subsample_size=2):
            pt.sample("u", dist.Uniform(torch.zeros(2), torch.tensor([1.0, 2.0])))

    with pytest.raises(ValueError, match="site 'u' stands in a subsampled plate, and the bounds of its support"):
        AutoNormal(bounded).setup()


def test_a_support_that_depends_on_another_variable_is_refused():
    def bounded():
        high = pt.sample("high", dist.HalfNormal(torch.ones(())))
        pt.sample("u", dist.Uniform(torch.zeros(()), high))

    with pytest.raises(ValueError, match="the support of site 'u', .* depends on other variables or on parameters"):
        AutoNormal(bounded).setup()


def test_the_image_of_a_half_line_is_a_support_too():
    def shifted():
        with pt.plate("data", 4, subsample_size=2):
            base = dist.HalfNormal(torch.ones(()))
            pt.sample("z", dist.TransformedDistribution(base, pt.bijectors.ScalarAffine(torch.tensor(-2.0), 1.0)))

    guide = moved(AutoNormal(shifted).setup())
    draws = guide.sample_posterior((50,))["z"]
    assert draws.shape == (50, 4)
    assert (draws < 1).all()
    found = guide.quantiles([0.1, 0.9])["z"]
    assert (found[0] < found[1]).all()
    assert bound(shifted, guide).isfinite()
    assert guide.double().sample_posterior((2,))["z"].dtype == torch.float64
    assert guide.latents["z"].support.bijector.scale.dtype == torch.float64


def test_discrete_latents_are_left_out_where_they_are_summed_out_and_named_where_not():
    def mixture(infer):
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("k", dist.Bernoulli(0.5), infer=infer)

    assert list(AutoNormal(mixture).setup({"enumerate": "parallel"}).latents) == ["z"]
    with pytest.raises(ValueError, match=r"site 'k' is discrete \(Bernoulli\).*enumerate.*AutoGuideList"):
        AutoNormal(mixture).setup({})


def test_point_masses_of_the_model_are_left_out():
    def pinned():
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("fixed", dist.Delta(torch.ones(2), event_dim=1))

    assert list(AutoNormal(pinned).setup().latents) == ["z"]


def test_a_loop_over_a_subsample_is_refused_and_over_all_elements_is_not():
    def looped(size):
        for i in pt.plate("data", 3, subsample_size=size):
            pt.sample(f"z_{i}", dist.Normal(torch.zeros(()), 1.0))

    assert sorted(AutoNormal(looped)(3)) == ["z_0", "z_1", "z_2"]
    with pytest.raises(ValueError, match="stands in a loop over a subsample of plate 'data'"):
        AutoNormal(looped).setup(2)


def test_a_model_without_latents_is_refused():
    with pytest.raises(ValueError, match="the model has no latent variable that a guide could have"):
        AutoNormal(lambda: pt.sample("x", dist.Normal(0.0, 1.0), obs=1.0)).setup()


def test_levels_that_are_no_probabilities_are_refused():
    guide = AutoNormal(lambda: pt.sample("x", dist.Normal(torch.zeros(()), 1.0)))
    for levels in ([0.5, 1.5], 0.5):
        with pytest.raises(ValueError, match="levels of quantiles must be a list of probabilities between 0 and 1"):
            guide.quantiles(levels)


def test_no_draws_are_refused():
    guide = AutoNormal(lambda: pt.sample("x", dist.Normal(torch.zeros(()), 1.0)))
    with pytest.raises(ValueError, match=r"sample_shape of sample_posterior must hold at least one draw, not \(2, 0\)"):
        guide.sample_posterior((2, 0))


def test_what_is_no_program_is_refused():
    with pytest.raises(TypeError, match="model of AutoNormal must be callable, not a int"):
        AutoNormal(1)
    with pytest.raises(TypeError, match="init of AutoNormal must be callable, not a dict"):
        AutoNormal(lambda: None, init={})


def test_a_model_that_is_a_module_keeps_its_parameters():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self):
            z = pt.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pt.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=torch.ones(1))

    guide = AutoNormal(Decoder()).setup()
    assert set(dict(guide.named_parameters())) == {"loc.z", "raw_scale.z"}


def test_set_up_is_not_seen_by_handlers_around():
    with trace() as around:
        guide = AutoNormal(model).setup()
        guide.sample_posterior((2,))
        guide.quantiles([0.5])
    assert list(around.trace) == []


def test_a_module_with_an_encoder_is_a_guide_as_it_stands():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, x):
            with pt.plate("data", len(x)):
                loc, raw = self.layer(x.unsqueeze(-1)).unbind(-1)
                pt.sample("z", dist.Normal(loc, raw.exp()))

    def local(x):
        with pt.plate("data", len(x)):
            z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pt.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = Encoder()
    with torch.no_grad():
        guide.layer.weight.copy_(torch.tensor([[0.5], [0.0]]))
        guide.layer.bias.copy_(torch.tensor([0.0, -0.5 * math.log(2)]))
    evidence = torch.distributions.Normal(0.0, math.sqrt(2.0)).log_prob(X).sum()
    torch.testing.assert_close(bound(local, guide, X), evidence)
