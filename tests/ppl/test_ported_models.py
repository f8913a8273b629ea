"""Model functions in the forms that Pyro's and NumPyro's users write run with the imports changed."""

import pytest
import torch
from torch import nn
from torch.distributions import constraints

import posterity as pt
from posterity import handlers as poutine

pyro = numpyro = pt
dist = pt.distributions


def density(model, *args, **kwargs):
    return poutine.trace(poutine.seed(model, 0)).get_trace(*args, **kwargs).log_prob_sum()


class TestPyro:
    def test_regression_with_vector_events(self):
        def model(features, target=None):
            dims = features.shape[1]
            weight = pyro.sample("weight", dist.Normal(torch.zeros(dims), torch.ones(dims)).to_event(1))
            bias = pyro.sample("bias", dist.Normal(0, 10).expand([1]).to_event(1))
            sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
            mean = pyro.deterministic("mean", features @ weight + bias, event_dim=0)
            with pyro.plate("data", features.shape[0]):
                return pyro.sample("obs", dist.Normal(mean, sigma), obs=target)

        assert density(model, torch.randn(7, 3), torch.randn(7)).isfinite()
        assert model(torch.randn(7, 3)).shape == (7,)

    def test_a_mixture_with_parameters_and_a_guide(self):
        data = torch.tensor([0.0, 1.0, 10.0, 11.0, 12.0])

        def model(data):
            weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
            scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
            with pyro.plate("components", 2):
                locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
            with pyro.plate("data", len(data)):
                assignment = pyro.sample("assignment", dist.Categorical(weights), infer={"enumerate": "parallel"})
                pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=data)

        def guide(data):
            q = pyro.param("q", torch.ones(5, 2) / 2, constraints.simplex)
            loc = pyro.param("loc", lambda: torch.randn(2))
            pyro.sample("weights", dist.Delta(torch.ones(2) / 2, event_dim=1))
            pyro.sample("scale", dist.Delta(torch.tensor(1.0)))
            with pyro.plate("components", 2):
                pyro.sample("locs", dist.Normal(loc, 0.1))
            with pyro.plate("data", len(data)):
                pyro.sample("assignment", dist.Categorical(q))

        guided = poutine.trace(guide).get_trace(data)
        replayed = poutine.trace(poutine.replay(model, trace=guided)).get_trace(data)
        assert replayed["assignment"].value is guided["assignment"].value
        assert replayed.log_prob_sum().isfinite()

    def test_nested_plates_made_ahead_with_dims(self):
        def model(counts):
            topics = pyro.plate("topics", 2)
            documents = pyro.plate("documents", 3, dim=-1)
            words = pyro.plate("words", 4, dim=-2)
            with topics:
                topic_words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(5)))
            with documents:
                topic = pyro.sample("topic", dist.Dirichlet(torch.ones(2)))
                with words:
                    chosen = pyro.sample("chosen", dist.Categorical(topic))
                    pyro.sample("word", dist.Categorical(topic_words[chosen]), obs=counts)

        assert density(model, torch.zeros(4, 3, dtype=torch.int64)).isfinite()

    def test_minibatches_scales_and_masks(self):
        data = torch.arange(10.0)

        def model(data, annealing=1.0):
            loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
            with pyro.plate("data", size=len(data), subsample_size=4) as chosen:
                batch = pyro.ppl.subsample(data, event_dim=0)
                torch.testing.assert_close(batch, data[chosen])
                with poutine.scale(None, annealing), poutine.mask(mask=batch > 2):
                    pyro.sample("obs", dist.Normal(loc, 1.0), obs=batch)

        assert density(model, data, annealing=0.5).isfinite()

    def test_loops_with_data_that_may_be_missing(self):
        def model(sequence=None, length=3):
            x = torch.zeros(())
            for t in pyro.plate("unused", length):
                x = pyro.sample(f"x_{t}", dist.Normal(x, 1.0))
                pyro.sample(f"y_{t}", dist.Normal(x, 1.0), obs=None if sequence is None else sequence[t])

        assert density(model, torch.randn(3)).isfinite()
        assert density(model).isfinite()

    def test_a_network_and_a_penalty(self):
        network = nn.Linear(2, 1)

        def model(x):
            pyro.module("decoder", network)
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.factor("penalty", -z.pow(2).sum(), has_rsample=True)
            pyro.sample("x", dist.Bernoulli(logits=network(z)).to_event(1), obs=x)

        assert density(model, torch.ones(1)).isfinite()

    def test_partly_observed_data(self):
        def model(x, seen):
            with pyro.plate("data", 3):
                return pyro.sample("x", dist.Normal(0.0, 1.0), obs=x, obs_mask=seen)

        x = model(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, True, False]))
        assert x[:2].tolist() == [1.0, 2.0]

    def test_handlers_by_position_and_name(self):
        def model():
            return pyro.sample("x", dist.Normal(0.0, 1.0)) + pyro.param("a", torch.tensor(0.0))

        assert poutine.condition(model, data={"x": torch.tensor(3.0)})() == 3.0
        assert poutine.do(model, data={"x": torch.tensor(3.0)})() == 3.0
        assert list(poutine.trace(poutine.block(model, hide=["a"])).get_trace()) == ["x"]
        assert list(poutine.trace(poutine.lift(model, prior={"a": dist.Normal(0.0, 1.0)})).get_trace()) == ["x", "a"]
        assert poutine.uncondition(poutine.condition(model, data={"x": torch.tensor(99.0)}))() < 50
        assert poutine.seed(model, rng_seed=1)() == poutine.seed(model, 1)()


class TestNumPyro:
    def test_eight_schools_with_a_reparameterised_effect(self):
        def model(num_schools, sigma, y=None):
            mu = numpyro.sample("mu", dist.Normal(0, 5))
            tau = numpyro.sample("tau", dist.HalfCauchy(5))
            with numpyro.plate("J", num_schools):
                with poutine.reparam(config={"theta": poutine.LocScaleReparam(centered=0)}):
                    theta = numpyro.sample("theta", dist.Normal(mu, tau))
                numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)

        trace = poutine.trace(poutine.seed(model, rng_seed=0)).get_trace(8, torch.ones(8), y=torch.zeros(8))
        assert [site.name for site in trace.latents()] == ["mu", "tau", "theta_decentered"]
        assert trace["theta_decentered"].value.shape == (8,)

    def test_arguments_of_sample_by_position(self):
        def model(y):
            mean = numpyro.sample("mean", dist.Normal(0.0, 1.0), None, None, (3,))
            numpyro.sample("y", dist.Normal(mean, 1.0), y)

        trace = poutine.trace(poutine.seed(model, 0)).get_trace(torch.zeros(3))
        assert trace["mean"].value.shape == (3,)
        assert trace["y"].is_observed

    def test_plates_with_dims_and_subsamples(self):
        data = torch.arange(20.0).reshape(4, 5)

        def model(data):
            with numpyro.plate("rows", 4, dim=-2):
                level = numpyro.sample("level", dist.Normal(0.0, 1.0))
                with numpyro.plate("columns", 5, 2, dim=-1) as chosen:
                    numpyro.sample("x", dist.Normal(level, 1.0), obs=data[:, chosen])

        trace = poutine.trace(poutine.seed(model, 0)).get_trace(data)
        assert trace["level"].value.shape == (4, 1)
        assert trace["x"].scale == 2.5

    def test_factors_masks_and_deterministic_values(self):
        def model(x, seen):
            rate = numpyro.sample("rate", dist.Exponential(1.0))
            numpyro.deterministic("log_rate", rate.log())
            numpyro.factor("prior", -rate)
            with poutine.mask(mask=seen):
                numpyro.sample("x", dist.Poisson(rate), obs=x)

        assert density(model, torch.tensor([1.0, 2.0]), torch.tensor([True, False])).isfinite()

    def test_substitution_of_unseen_values(self):
        def model():
            return numpyro.sample("x", dist.Normal(0.0, 1.0))

        assert poutine.substitute(poutine.seed(model, 0), data={"x": 1.5})() == 1.5
        assert poutine.substitute(model, data=lambda site: torch.tensor(2.5))() == 2.5


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_conditioning_masking_and_scaling_commute(order):
    def model():
        with pt.plate("data", 3):
            return pt.sample("x", dist.Normal(0.0, 1.0))

    changes = [
        lambda fn: poutine.condition(fn, {"x": torch.tensor([1.0, 2.0, 3.0])}),
        lambda fn: poutine.mask(fn, mask=torch.tensor([True, False, True])),
        lambda fn: poutine.scale(fn, scale=2.0),
    ]
    changed = model
    for i in order:
        changed = changes[i](changed)
    expected = 2 * dist.Normal(0.0, 1.0).log_prob(torch.tensor([1.0, 3.0])).sum()
    torch.testing.assert_close(density(changed), expected)
