"""Draws under a frozen posterior are the same draws, and numbers that parameters have left behind are never used."""

import copy
import io
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from posterity.nn.posteriors import Moments

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def network(estimator="local", **keywords):
    net = pt.bayesianize(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), estimator=estimator, **keywords)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("rho"):
                p.add_(torch.rand_like(p))
    return net


def output(net, x=X):
    torch.manual_seed(5)
    return net(x)


def softplus_calls(monkeypatch):
    calls, softplus = [], F.softplus
    monkeypatch.setattr(F, "softplus", lambda x: calls.append(x.shape) or softplus(x))
    return calls


class TestForwards:
    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    @pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
    def test_the_draws_are_the_same_and_their_scales_computed_once(self, estimator, guard, monkeypatch):
        net = network(estimator)
        with guard():
            expected = output(net)
            with bnn.frozen_posterior(net):
                calls = softplus_calls(monkeypatch)
                assert torch.equal(output(net), expected)
                assert torch.equal(output(net), expected)
                assert not torch.equal(net(X), net(X))
            assert calls == []
            net(X)
            assert len(calls) == 4

    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    def test_predictions_are_the_same(self, estimator, monkeypatch):
        net = network(estimator)

        def ask():
            return pt.predict(net, X, 5, task="classification", generator=torch.Generator().manual_seed(1)).mean

        expected = ask()
        with bnn.frozen_posterior(net):
            calls = softplus_calls(monkeypatch)
            assert torch.equal(ask(), expected)
            assert calls == []

    def test_a_posterior_without_moments_draws_as_ever(self):
        class Wide(bnn.Posterior):
            keys = ("loc",)

            def init(self, value):
                return {"loc": value.clone()}

            def draw(self, tensors, source=None):
                return tensors["loc"] + dist.Laplace(0.0, 1.0).sample(tensors["loc"].shape)

            def mean(self, tensors):
                return tensors["loc"]

            def distribution(self, tensors):
                return dist.Laplace(tensors["loc"], 1.0)

        net = network("reparam", posterior=Wide())
        with torch.no_grad():
            expected = output(net)
            with bnn.frozen_posterior(net):
                assert torch.equal(output(net), expected)

    @pytest.mark.parametrize("posterior", [bnn.Delta(), bnn.MeanFieldNormal(0.3)])
    def test_the_kl_stays(self, posterior):
        net = network(posterior=posterior, prior=dist.Laplace(0.0, 1.0))
        with torch.no_grad():
            torch.manual_seed(0)
            expected = bnn.kl_divergence(net)
            with bnn.frozen_posterior(net):
                torch.manual_seed(0)
                assert torch.equal(bnn.kl_divergence(net), expected)

    def test_tied_layers_are_one(self):
        net = network("reparam")
        other = bnn.Linear(3, 5)
        other.weight = net[0].weight
        both = nn.ModuleList([net, other])
        with torch.no_grad(), bnn.frozen_posterior(both), bnn.shared_draw(both):
            assert torch.equal(other.weight, net[0].weight)

    @pytest.mark.parametrize("estimator", ["reparam", "local"])
    def test_gradients_flow_as_ever(self, estimator):
        net = network(estimator)
        expected = torch.autograd.grad(output(net).square().sum(), list(net.parameters()))
        with bnn.frozen_posterior(net):
            got = torch.autograd.grad(output(net).square().sum(), list(net.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))

    def test_other_tensors_put_in_by_a_functional_call_are_used(self):
        net = network()
        doubled = {name: 2 * p.detach() for name, p in net.named_parameters()}
        with torch.no_grad():
            torch.manual_seed(5)
            expected = torch.func.functional_call(net, doubled, X)
            with bnn.frozen_posterior(net):
                torch.manual_seed(5)
                assert torch.equal(torch.func.functional_call(net, doubled, X), expected)

    def test_a_compiled_network_is_not_compiled_anew(self):
        graphs = []

        def count(graph, inputs):
            graphs.append(graph)
            return graph.forward

        net = network("reparam")
        compiled = torch.compile(net, fullgraph=True, backend=count)
        with torch.no_grad():
            expected = output(compiled)
            with bnn.frozen_posterior(compiled):
                assert torch.equal(output(compiled), expected)
        assert len(graphs) == 1

    def test_a_block_inside_a_compiled_function(self):
        net = network("reparam")

        @torch.compile(fullgraph=True, backend="aot_eager")
        def inside(x, freeze):
            with bnn.frozen_posterior(net) if freeze else torch.no_grad():
                return net(x)

        with torch.no_grad():
            torch.manual_seed(5)
            expected = inside(X, False)
            torch.manual_seed(5)
            assert torch.equal(inside(X, True), expected)

    def test_half_precision_and_meta(self):
        half = network().to(torch.bfloat16)
        meta = network().to("meta")
        with torch.no_grad(), bnn.frozen_posterior(half), bnn.frozen_posterior(meta):
            assert half(X.to(torch.bfloat16)).dtype == torch.bfloat16
            assert meta(X.to("meta")).shape == (4, 2)


def step(kind, **options):
    def change(net):
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        kind(net.parameters(), lr=0.1, **options).step()

    return change


CHANGES = {
    "SGD": step(torch.optim.SGD),
    "foreach Adam": step(torch.optim.Adam, foreach=True),
    "fused Adam": step(torch.optim.Adam, fused=True),
    "fused SGD": step(torch.optim.SGD, fused=True),
    "load_state_dict": lambda net: net.load_state_dict(net.state_dict()),
    "to": lambda net: net.to(torch.bfloat16),
    "initialisation": lambda net: net[0].reset_parameters(),
    "data": lambda net: setattr(net[0].weight_rho, "data", torch.ones(5, 3)),
}


class TestChanges:
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    @pytest.mark.parametrize("estimator", ["reparam", "local"])
    def test_the_next_forward_refuses(self, change, estimator):
        net = network(estimator)
        with pytest.raises(RuntimeError, match="was changed"), bnn.frozen_posterior(net):
            self.refused(net, change)

    def refused(self, net, change):
        change(net)
        x, message = (
            X.to(net[0].weight_loc.dtype),
            r"weight_\w+ was changed while its posterior was frozen; end the block",
        )
        with pytest.raises(RuntimeError, match=message):
            pt.predict(net, x, 3, task="classification")

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_the_end_of_the_block_refuses_and_leaves_nothing_behind(self, change):
        net = network()
        with pytest.raises(RuntimeError, match="was changed while its posterior was frozen"), bnn.frozen_posterior(net):
            change(net)
        with torch.no_grad():
            x = X.to(net[0].weight_loc.dtype)
            fresh = pickle.loads(pickle.dumps(net))
            assert torch.equal(output(net, x), output(fresh, x))

    def test_another_networks_training_is_none_of_its_business(self):
        net = network()
        with bnn.frozen_posterior(net):
            CHANGES["fused Adam"](network())

    def test_a_new_parameter_is_a_posterior_of_its_own(self):
        net = network("reparam")
        with torch.no_grad(), bnn.frozen_posterior(net):
            net[0].weight = nn.Parameter(torch.full((5, 3), 100.0))
            assert (net[0].weight > 50).all()


class TestBlocks:
    def test_nothing_random_is_an_error(self):
        with (
            pytest.raises(ValueError, match="frozen_posterior: Linear has no random parameters"),
            bnn.frozen_posterior(nn.Linear(2, 2)),
        ):
            pass

    def test_an_exception_ends_it(self, monkeypatch):
        net = network()

        def fails():
            with bnn.frozen_posterior(net):
                CHANGES["SGD"](net)
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            fails()
        calls = softplus_calls(monkeypatch)
        with torch.no_grad():
            net(X)
        assert len(calls) == 4

    def test_inner_blocks_join_the_outer_one(self, monkeypatch):
        net = network()
        with torch.no_grad(), bnn.frozen_posterior(net[0]):
            expected = output(net)
            with bnn.frozen_posterior(net):
                with bnn.frozen_posterior(net):
                    pass
                with monkeypatch.context() as patch:
                    calls = softplus_calls(patch)
                    assert torch.equal(output(net), expected)
                    assert calls == []
            calls = softplus_calls(monkeypatch)
            net(X)
            assert len(calls) == 2  # the second layer's weight and bias

    def test_it_belongs_to_its_thread(self):
        net, entered, leave, refusals = network(), threading.Event(), threading.Event(), []

        def other():
            try:
                with bnn.frozen_posterior(net):
                    entered.set()
                    assert leave.wait(20)
            except RuntimeError as error:
                refusals.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        try:
            assert entered.wait(20)
            CHANGES["SGD"](net)
            with torch.no_grad(), bnn.frozen_posterior(net):
                assert torch.equal(output(net), output(copy.deepcopy(net)))
        finally:
            leave.set()
            thread.join(20)
        assert ["was changed while" in refusal for refusal in refusals] == [True]

    def test_copies_and_saved_states_know_nothing_of_it(self):
        net = network()
        keys = list(net.state_dict())
        with bnn.frozen_posterior(net):
            assert list(net.state_dict()) == keys
            file = io.BytesIO()
            torch.save(net, file)
            file.seek(0)
            for other in (copy.deepcopy(net), torch.load(file, weights_only=False)):
                CHANGES["SGD"](other)
                with torch.no_grad():
                    assert not torch.equal(output(other), output(net))


def test_moments_square_their_scale_unless_it_is_known():
    scale = torch.tensor([3.0])
    assert Moments(scale, scale).variance == 9
    assert Moments(scale, scale, scale).variance is scale
