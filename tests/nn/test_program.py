import pytest
import torch
from torch import nn

import posterity as pt
from posterity import nn as bnn
from posterity.nn import random_weights
from posterity.ppl.module import trained_parameters

dist, handle = pt.distributions, pt.handlers
x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def program(network, call=lambda f: f(x), prior=None):
    return lambda: call(pt.module("net", network, prior=prior))


def two_layers(**kwargs):
    return nn.Sequential(bnn.Linear(3, 4, **kwargs), nn.ReLU(), bnn.Linear(4, 1, **kwargs))


def sites(trace):
    return [site.name for site in trace.samples()]


class TestSites:
    def test_the_weights_of_bayesian_layers_are_sites_with_the_layers_priors(self):
        network = two_layers(prior=dist.Laplace(0.0, 0.3))
        trace = handle.trace(program(network)).get_trace()
        assert sites(trace) == ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]
        site = trace["net.0.weight"]
        assert site.distribution.event_shape == (4, 3)
        torch.testing.assert_close(site.log_prob(), dist.Laplace(0.0, 0.3).log_prob(site.value).sum())

    @pytest.mark.parametrize(
        "prior",
        [
            dist.Normal(1.0, 2.0),
            bnn.FanIn(),
            bnn.ScaleMixture(),
            dist.StudentT(3.0, 0.0, 1.0),
            dist.Normal(torch.zeros(3), 1.0),
        ],
    )
    def test_every_kind_of_prior_has_the_weight_as_its_event(self, prior):
        layer = bnn.Linear(3, 3, bias=False, prior=prior)
        site = handle.trace(program(layer)).get_trace()["net.weight"]
        recipe = layer._random["weight"]
        expected = recipe.prior.distribution(recipe.prior_tensors(layer, "weight")).log_prob(site.value).sum()
        torch.testing.assert_close(site.log_prob(), expected)

    def test_the_parameters_behind_random_weights_are_not_trained(self):
        network = nn.Sequential(bnn.Linear(3, 4), nn.BatchNorm1d(4))
        trace = handle.trace(program(network)).get_trace()
        assert dict(trained_parameters(trace["net"])).keys() == {"net.1.weight", "net.1.bias"}

    def test_a_prior_may_make_the_other_parameters_random_too(self):
        network = nn.Sequential(bnn.Linear(3, 4), nn.Linear(4, 1))
        trace = handle.trace(program(network, prior={"*": dist.Normal(0.0, 1.0)})).get_trace()
        assert sites(trace) == ["net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias"]

    def test_a_network_without_random_weights_has_none(self):
        assert random_weights(nn.Linear(2, 3)) is None

    def test_the_prior_moves_with_the_network(self):
        trace = handle.trace(program(two_layers().double(), lambda f: f(x.double()))).get_trace()
        assert trace["net.0.weight"].value.dtype == torch.float64


class TestUse:
    @pytest.mark.parametrize("estimator", ["reparam", "local", "flipout"])
    def test_outputs_follow_the_drawn_weights(self, estimator):
        layer = bnn.Linear(3, 2, estimator=estimator)
        weight, bias = torch.ones(2, 3), torch.tensor([1.0, -1.0])
        model = handle.substitute(program(layer), {"net.weight": weight, "net.bias": bias})
        torch.testing.assert_close(model(), x @ weight.T + bias)

    def test_weights_are_drawn_once_however_often_the_network_is_called(self):
        first, second = program(two_layers(), lambda f: (f(x), f(x)))()
        assert torch.equal(first, second)

    def test_replay_gives_the_same_outputs(self):
        model = handle.trace(program(two_layers()))
        first = model()
        torch.testing.assert_close(handle.replay(program(two_layers()), model.trace)(), first)

    def test_gradients_reach_the_drawn_weights_and_not_the_posterior(self):
        layer = bnn.Linear(3, 2)
        weight = torch.ones(2, 3, requires_grad=True)
        handle.substitute(program(layer), {"net.weight": weight})().sum().backward()
        torch.testing.assert_close(weight.grad, x.sum(0).expand(2, 3))
        assert layer.weight_loc.grad is None

    def test_a_batch_of_weights_runs_under_vmap(self):
        network = two_layers()
        weights, biases = torch.randn(6, 4, 3), torch.randn(6, 4)
        rest = {"net.2.weight": torch.ones(1, 4), "net.2.bias": torch.zeros(1)}

        def output(weight, bias):
            return handle.substitute(program(network), {"net.0.weight": weight, "net.0.bias": bias} | rest)()

        alone = torch.stack([output(w, b) for w, b in zip(weights, biases, strict=True)])
        torch.testing.assert_close(torch.vmap(output)(weights, biases), alone)

    @pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("kind", ["attention", "embedding", "convolution", "normalisation"])
    def test_a_batch_of_weights_runs_under_vmap_in_every_kind_of_network(self, kind, training):
        network, inputs, weight = {
            "attention": (nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0), torch.randn(5, 2, 4), "linear1.weight"),
            "embedding": (nn.Embedding(5, 3, padding_idx=2), torch.tensor([2, 1]), "weight"),
            "convolution": (nn.Conv2d(1, 2, 3), torch.randn(2, 1, 4, 4), "weight"),
            "normalisation": (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), x, "0.weight"),
        }[kind]
        shape = network.get_parameter(weight).shape
        network = pt.bayesianize(network).train(training)

        def output(value):
            return handle.substitute(handle.seed(program(network, lambda f: f(inputs)), 0), {f"net.{weight}": value})()

        weights = torch.randn(3, *shape)
        if kind == "normalisation" and training:
            with pytest.raises(RuntimeError, match="running_mean or running_var, which will be updated in place"):
                torch.vmap(output)(weights)
        else:
            alone = torch.stack([output(value) for value in weights])
            torch.testing.assert_close(torch.vmap(output)(weights), alone, rtol=1e-4, atol=1e-5)

    def test_densities_are_captured_on_stand_ins(self, no_validation):
        from torch.fx.experimental.proxy_tensor import make_fx

        network = two_layers()

        def density(weight):
            given = handle.substitute(handle.seed(program(network), 0), {"net.0.weight": weight})
            trace = handle.trace(given)
            return trace().sum() + trace.trace.log_prob_sum()

        graph = make_fx(density, tracing_mode="fake", _allow_non_fake_inputs=True)(torch.zeros(4, 3))
        weight = torch.ones(4, 3)
        torch.testing.assert_close(graph(weight), density(weight))

    def test_the_network_draws_its_own_weights_again_afterwards(self):
        layer = bnn.Linear(3, 2)
        program(layer)()
        assert not torch.equal(layer(x), layer(x))

    def test_weights_that_are_drawn_already_are_an_error(self):
        layer = bnn.Linear(3, 2)
        with bnn.shared_draw(layer), pytest.raises(RuntimeError, match="the weights of Linear were drawn already"):
            program(layer)()


class TestKindsOfNetworks:
    def test_tied_weights_are_one_site(self):
        network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
        network[1].weight = network[0].weight
        network = pt.bayesianize(network)
        assert sites(handle.trace(program(network)).get_trace()) == ["net.0.weight"]
        value = handle.substitute(program(network), {"net.0.weight": 2 * torch.eye(3)})()
        torch.testing.assert_close(value, 4 * x)

    def test_recurrent_networks(self):
        network = pt.bayesianize(nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True))
        model = program(network, lambda f: f(x.unsqueeze(0))[0])
        trace = handle.trace(model)
        first = trace()
        assert len(sites(trace.trace)) == 16
        torch.testing.assert_close(handle.replay(model, trace.trace)(), first)

    @pytest.mark.parametrize("training", [True, False])
    def test_attention(self, training):
        network = pt.bayesianize(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)).train(training)
        tokens = torch.randn(2, 5, 4)
        model = program(network, lambda f: f(tokens))
        trace = handle.trace(model)
        with torch.no_grad():
            first = trace()
            torch.testing.assert_close(handle.replay(model, trace.trace)(), first)
            assert not torch.equal(model(), first)

    def test_the_row_of_padding_is_no_noise(self):
        network = pt.bayesianize(nn.Embedding(5, 3, padding_idx=2), prior=dist.Normal(10.0, 1.0))
        output = program(network, lambda f: f(torch.tensor([2, 1])))()
        assert torch.equal(output[0], torch.zeros(3))
        assert (output[1] > 0).all()

    def test_batch_normalisation(self):
        network = pt.bayesianize(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
        program(network)()
        assert network[1].num_batches_tracked == 1

    def test_convolutions(self):
        network = nn.Sequential(bnn.Conv2d(1, 2, 3), nn.Flatten(), bnn.Linear(8, 1))
        trace = handle.trace(program(network, lambda f: f(torch.ones(1, 1, 4, 4)))).get_trace()
        assert sites(trace) == ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]


class TestBare:
    message = r"the Bayesian network Linear\(in_features=3.*was called bare inside a probabilistic program.*pt.module"

    @pytest.mark.parametrize("estimator", ["reparam", "local", "flipout"])
    def test_a_bayesian_network_called_bare_is_named(self, estimator):
        layer = bnn.Linear(3, 2, estimator=estimator)
        with pytest.raises(RuntimeError, match=self.message):
            handle.trace(lambda: layer(x)).get_trace()

    def test_a_converted_network_is_named_by_its_root(self):
        class Regressor(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.gain = nn.Linear(3, 1), nn.Parameter(torch.ones(1))

            def forward(self, inputs):
                return self.gain * self.body(inputs)

        network = pt.bayesianize(Regressor())
        with pytest.raises(RuntimeError, match="the Bayesian network Regressor"):
            handle.seed(lambda: network(x), 0)()

    def test_inside_a_plate_too(self):
        layer = bnn.Linear(3, 2)
        with pt.plate("data", 5), pytest.raises(RuntimeError, match=self.message):
            layer(x)

    def test_outside_of_programs_it_is_as_ever(self):
        assert bnn.Linear(3, 2)(x).shape == (5, 2)

    @pytest.mark.filterwarnings("ignore:.*has never been trained:UserWarning")
    def test_a_prediction_is_no_part_of_the_program_around_it(self):
        network = two_layers()
        with handle.trace() as recorded, torch.no_grad():
            for joint in (False, True):
                pt.predict(network, x, 4, task="regression", likelihood=0.1, joint=joint)
        assert len(recorded.trace) == 0

    def test_a_shared_draw_around_the_program_makes_it_a_function(self):
        layer = bnn.Linear(3, 2)
        with bnn.shared_draw(layer), handle.trace():
            assert torch.equal(layer(x), layer(x))

    def test_the_check_breaks_no_graph(self):
        layer = bnn.Linear(3, 2)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert compiled(x).shape == (5, 2)
