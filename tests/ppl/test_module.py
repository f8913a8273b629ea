import pytest
import torch
from torch import nn

import posterity as pt
from posterity.ppl.module import trained_parameters

dist, handle = pt.distributions, pt.handlers
x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def program(network, prior=None, call=lambda f: f(x)):
    return lambda: call(pt.module("net", network, prior=prior))


def traced(*args, **kwargs):
    return handle.trace(program(*args, **kwargs)).get_trace()


def sites(trace):
    return [site.name for site in trace.samples()]


def two_layers():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))


class TestPriors:
    def test_one_prior_makes_every_parameter_a_site(self):
        trace = traced(two_layers(), dist.Normal(0.0, 1.0))
        assert sites(trace) == ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]
        assert trace["net.0.weight"].distribution.event_shape == (4, 3)
        assert trace["net.0.weight"].log_prob().shape == ()

    def test_patterns_choose_first_match_first(self):
        prior = {"0.*": dist.Normal(0.0, 1.0), "*.bias": dist.Normal(100.0, 1.0)}
        trace = traced(two_layers(), prior)
        assert sites(trace) == ["net.0.weight", "net.0.bias", "net.2.bias"]
        assert trace["net.0.bias"].value.abs().max() < 50
        assert trace["net.2.bias"].value.min() > 50

    def test_without_a_prior_nothing_is_random(self):
        network = two_layers()
        trace = traced(network)
        assert list(trace) == ["net"]
        assert dict(trained_parameters(trace["net"])).keys() == {f"net.{n}" for n, _ in network.named_parameters()}

    def test_a_prior_of_the_parameters_shape_is_taken_as_it_stands(self):
        loc = torch.arange(12.0).reshape(4, 3)
        trace = traced(two_layers(), {"0.weight": dist.Normal(loc, 1e-3)})
        assert (trace["net.0.weight"].value - loc).abs().max() < 0.1

    def test_the_prior_takes_the_parameters_precision(self):
        trace = traced(nn.Linear(3, 1).double(), dist.Normal(0.0, 1.0), lambda f: f(x.double()))
        assert trace["net.weight"].value.dtype == torch.float64

    def test_a_prior_of_another_shape_is_refused(self):
        with pytest.raises(
            ValueError, match=r"prior of 'net.0.weight' has shape \(2,\), but the parameter's is \(4, 3\)"
        ):
            traced(two_layers(), {"0.weight": dist.Normal(torch.zeros(2), 1.0)})

    def test_a_pattern_that_matches_nothing_is_refused(self):
        with pytest.raises(ValueError, match=r"pattern 'conv.\*' matches no parameter; there are 0.weight, 0.bias"):
            traced(two_layers(), {"conv.*": dist.Normal(0.0, 1.0)})

    def test_a_prior_that_is_no_distribution_is_refused(self):
        with pytest.raises(TypeError, match="the prior of 'net.0.weight' must be a distribution, not a float"):
            traced(two_layers(), {"0.weight": 1.0})


class TestUse:
    def test_outputs_follow_the_drawn_weights(self):
        network = nn.Linear(3, 2)
        weight, bias = torch.ones(2, 3), torch.tensor([1.0, -1.0])
        model = handle.substitute(program(network, dist.Normal(0.0, 1.0)), {"net.weight": weight, "net.bias": bias})
        torch.testing.assert_close(model(), x @ weight.T + bias)

    def test_the_networks_own_parameters_stay(self):
        network = two_layers()
        before = {name: p.clone() for name, p in network.named_parameters()}
        program(network, dist.Normal(0.0, 1.0))()
        assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())

    def test_weights_are_drawn_once_however_often_the_network_is_called(self):
        assert (
            len(set(program(two_layers(), dist.Normal(0.0, 1.0), lambda f: (f(x).sum().item(), f(x).sum().item()))()))
            == 1
        )

    def test_gradients_reach_drawn_weights_and_trained_parameters(self):
        network = two_layers()
        weight = torch.zeros(4, 3, requires_grad=True)
        given = {"net.0.weight": weight}
        handle.substitute(program(network, {"0.weight": dist.Normal(0.0, 1.0)}), given)().sum().backward()
        assert weight.grad is not None
        assert network[2].weight.grad is not None
        assert network[0].weight.grad is None

    def test_a_batch_of_weights_runs_under_vmap(self):
        network = two_layers()
        model = program(network, {"0.weight": dist.Normal(0.0, 1.0)})
        weights = torch.randn(6, 4, 3)
        outputs = torch.vmap(lambda w: handle.substitute(model, {"net.0.weight": w})())(weights)
        alone = torch.stack([handle.substitute(model, {"net.0.weight": w})() for w in weights])
        torch.testing.assert_close(outputs, alone)

    def test_inside_a_plate_it_is_refused(self):
        message = r"module 'net' stands inside plate 'data'.*call pt.module outside of all"
        with pytest.raises(ValueError, match=message), pt.plate("data", 5):
            pt.module("net", two_layers())

    def test_the_network_is_used_inside_plates(self):
        def model():
            f = pt.module("net", two_layers(), prior=dist.Normal(0.0, 1.0))
            with pt.plate("data", 5):
                return pt.sample("y", dist.Normal(f(x).squeeze(-1), 1.0))

        assert model().shape == (5,)

    def test_one_network_may_be_called_for_twice_without_a_prior(self):
        network = two_layers()
        assert list(handle.trace(lambda: [pt.module("net", network) for _ in range(2)]).get_trace()) == ["net"]

    def test_what_is_no_module_is_refused(self):
        with pytest.raises(TypeError, match="module 'net' must be given a torch.nn.Module, not a function"):
            pt.module("net", lambda x: x)

    def test_a_name_that_is_no_string_is_refused(self):
        with pytest.raises(TypeError, match="module: the name must be a string"):
            pt.module(two_layers(), "net")


class TestKindsOfNetworks:
    def test_tied_weights_are_one_site(self):
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        network[1].weight = network[0].weight
        trace = traced(network, {"*.weight": dist.Normal(0.0, 1.0)})
        assert sites(trace) == ["net.0.weight"]
        weight = torch.eye(3)
        value = handle.substitute(program(network, {"*.weight": dist.Normal(0.0, 1.0)}), {"net.0.weight": 2 * weight})()
        expected = 2 * (2 * x + network[0].bias) + network[1].bias
        torch.testing.assert_close(value, expected)

    def test_recurrent_networks(self):
        network = nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)
        model = program(network, dist.Normal(0.0, 1.0), lambda f: f(x.unsqueeze(0))[0])
        trace = handle.trace(model)
        first = trace()
        assert len(list(trace.trace.samples())) == 16
        torch.testing.assert_close(handle.replay(model, trace.trace)(), first)
        assert not torch.equal(model(), first)

    def test_attention(self):
        network = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        tokens = torch.randn(2, 5, 4)
        model = program(network, {"*weight": dist.Normal(0.0, 1.0)}, lambda f: f(tokens))
        trace = handle.trace(model)
        first = trace()
        torch.testing.assert_close(handle.replay(model, trace.trace)(), first)

    def test_statistics_of_batch_normalisation_are_kept(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        program(network, {"0.*": dist.Normal(0.0, 1.0)})()
        assert network[1].num_batches_tracked == 1

    def test_the_row_of_padding_stays_as_it_is(self):
        network = nn.Embedding(5, 3, padding_idx=2)
        tokens = torch.tensor([2, 1])
        output = program(network, dist.Normal(10.0, 1.0), lambda f: f(tokens))()
        assert torch.equal(output[0], torch.zeros(3))
        assert (output[1] > 0).all()

    def test_a_bare_parameter(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.factor = nn.Parameter(torch.ones(3))

            def forward(self, inputs):
                return self.factor * inputs

        assert sites(traced(Scaled(), dist.Normal(0.0, 1.0))) == ["net.factor"]
