"""One draw per parameter per forward of the root, and a module that stays an ordinary module otherwise."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import posterity as pt
from posterity import nn as bnn
from posterity.nn.random_parameter import RandomParameter


class ReadsTwice(nn.Module):
    """A module whose code reads its parameter twice, and its child's weight from outside."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.child = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        difference = self.weight - self.weight
        return x @ difference + self.child(x) - x @ self.child.weight.mT


class UsedTwice(nn.Module):
    """The difference of two runs of one layer on the same input."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) - self.layer(x)


class TestOneDrawPerForward:
    def test_a_parameter_read_twice_is_one(self):
        net = pt.bayesianize(ReadsTwice(), posterior=bnn.MeanFieldNormal(1.0))
        assert net(torch.randn(4, 3)).abs().max() < 1e-5

    @pytest.mark.parametrize("estimator", ["reparam", "flipout"])
    @pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.Conv2d(3, 3, 3, padding=1)], ids=["linear", "conv"])
    def test_a_layer_used_twice_is_one_function(self, layer, estimator):
        net = pt.bayesianize(UsedTwice(layer), estimator=estimator)
        x = torch.randn((5, 3) if isinstance(layer, nn.Linear) else (5, 3, 4, 4))
        assert net(x).abs().max() < 1e-6

    def test_attention_reads_one_projection(self):
        # With equal weights for query and key, and the same input, the scores are symmetric before the softmax.
        attention = nn.MultiheadAttention(4, 1, bias=False, batch_first=True).double()
        net = pt.bayesianize(attention, include="in_proj_weight", posterior=bnn.MeanFieldNormal(0.5))
        x = torch.eye(4, dtype=torch.float64)[None]
        with bnn.shared_draw(net):
            weight = net.in_proj_weight.detach()
            _, inside = net(x, x, x)
        query, key, _ = weight.chunk(3)
        torch.testing.assert_close(inside[0], (query.mT @ key / 2).softmax(-1))

    def test_modules_called_alone_draw_for_themselves(self):
        net = nn.Sequential(bnn.Linear(3, 3), bnn.Linear(3, 3))
        x = torch.ones(1, 3)
        assert not torch.equal(net[0](x), net[0](x))
        assert not torch.equal(net(x), net(x))

    def test_outside_a_forward_every_reading_is_a_draw(self):
        layer = bnn.Linear(3, 2)
        assert not torch.equal(layer.weight, layer.weight)

    @pytest.mark.parametrize("mode", ["train", "eval"])
    @pytest.mark.parametrize("grad", [True, False])
    def test_samples_are_distinct_in_every_mode(self, mode, grad):
        net = pt.bayesianize(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
        getattr(net, mode)()
        with torch.set_grad_enabled(grad):
            outputs = [net(torch.ones(1, 2, 8)) for _ in range(5)]
        assert len({float(o.detach().flatten()[0]) for o in outputs}) == 5


class TestSharedDraw:
    def test_all_forwards_inside_are_one_function(self):
        net = pt.bayesianize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        x = torch.randn(5, 3)
        with bnn.shared_draw(net):
            first = net(x)
            assert torch.equal(net(x), first)
            assert torch.equal(net[2](net[1](net[0](x))), first)
            assert torch.allclose(net(x[:2]), first[:2], atol=1e-6)
        assert not torch.equal(net(x), first)

    @pytest.mark.parametrize("estimator", ["flipout", "local"])
    def test_estimators_use_one_weight_draw_inside(self, estimator):
        layer = bnn.Linear(3, 2, estimator=estimator)
        with bnn.shared_draw(layer):
            out = layer(torch.ones(4, 3))
            assert torch.equal(layer(torch.ones(4, 3)), out)
        assert torch.equal(out, out[:1].expand_as(out))

    def test_inner_ones_join_the_outer_one(self):
        layer, x = bnn.Linear(3, 2), torch.ones(1, 3)
        with bnn.shared_draw(layer):
            first = layer(x)
            with bnn.shared_draw(layer):
                assert torch.equal(layer(x), first)
            assert torch.equal(layer(x), first)

    def test_nothing_random_is_an_error(self):
        with (
            pytest.raises(ValueError, match="shared_draw: Linear has no random parameters"),
            bnn.shared_draw(nn.Linear(2, 2)),
        ):
            pass


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        self.layer(x)
        raise RuntimeError("stop")


def test_an_exception_in_forward_leaves_nothing_open():
    net = pt.bayesianize(Fails())
    with pytest.raises(RuntimeError, match="stop"):
        net(torch.ones(1, 3))
    x = torch.ones(1, 3)
    assert not torch.equal(net.layer(x), net.layer(x))
    with pytest.raises(RuntimeError, match="stop"), bnn.shared_draw(net):
        net(x)
    assert not torch.equal(net.layer(x), net.layer(x))


def test_threads_do_not_disturb_each_other():
    """Two threads inside one network at once: each sees one draw of its own."""
    meet = threading.Barrier(2, timeout=20)

    class Meets(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(100))

        def forward(self, x):
            meet.wait()
            first = self.weight
            meet.wait()
            second = self.weight
            meet.wait()
            return torch.stack([first, second])

    net = pt.bayesianize(Meets())
    seen: dict[int, torch.Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: seen.update({i: net(None)})) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in seen.values():
        assert torch.equal(values[0], values[1])
    assert not torch.equal(seen[0], seen[1])


class TestCheckpointing:
    class Net(nn.Module):
        def __init__(self, checkpointed):
            super().__init__()
            self.checkpointed = checkpointed
            self.first = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
            self.second = nn.Linear(4, 4)

        def forward(self, x):
            for part in (self.first, self.second):
                x = checkpoint(part, x, use_reentrant=False) if self.checkpointed else part(x)
            return x.tanh()

    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    def test_the_same_gradients_as_without(self, estimator):
        plain = pt.bayesianize(self.Net(False), estimator=estimator)
        other = copy.deepcopy(plain)
        other.checkpointed = True
        x = torch.randn(5, 4)
        for net in (plain, other):
            torch.manual_seed(1)
            net(x).square().sum().backward()
        for a, b in zip(plain.parameters(), other.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad)
            assert a.grad.any()


class TestAnOrdinaryModule:
    def test_pickle_and_deepcopy(self):
        net = pt.bayesianize(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LSTMCell(4, 2)), estimator="reparam")
        x = torch.randn(5, 3)
        for copied in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
            assert type(copied) is type(net)
            assert isinstance(copied[0], bnn.Linear)
            torch.manual_seed(0)
            expected = net(x)
            torch.manual_seed(0)
            for a, b in zip(copied(x), expected, strict=True):
                assert torch.equal(a, b)
            assert next(copied.parameters()).data_ptr() != next(net.parameters()).data_ptr()

    def test_a_copy_made_during_a_forward_has_nothing_open(self):
        layer, x = bnn.Linear(3, 2), torch.ones(1, 3)
        with bnn.shared_draw(layer):
            inside = layer(x)
            copied = copy.deepcopy(layer)
        assert not torch.equal(copied(x), inside)
        assert not torch.equal(copied(x), copied(x))

    def test_whole_module_and_state_dict_through_a_file(self):
        net = pt.bayesianize(nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(9, 2)))
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn_like(p))
        file = io.BytesIO()
        torch.save(net.state_dict(), file)
        file.seek(0)
        fresh = pt.bayesianize(nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(9, 2)))
        fresh.load_state_dict(torch.load(file, weights_only=True))
        for (name, a), (other, b) in zip(net.state_dict().items(), fresh.state_dict().items(), strict=True):
            assert name == other
            assert torch.equal(a, b)
        torch.testing.assert_close(bnn.kl_divergence(fresh), bnn.kl_divergence(net))

    def test_functional_call_and_torch_func(self):
        layer = bnn.Linear(2, 1, bias=False, posterior=bnn.MeanFieldNormal(1e-6))
        x = torch.randn(4, 2)

        def loss(parameters):
            return torch.func.functional_call(layer, parameters, (x,)).sum()

        gradient = torch.func.grad(loss)({k: p.detach() for k, p in layer.named_parameters()})
        torch.testing.assert_close(gradient["weight_loc"], x.sum(0, keepdim=True))

    def test_repr_says_what_is_random(self):
        net = pt.bayesianize(nn.Sequential(nn.Linear(3, 2)), include="*.weight")
        assert "in_features=3, out_features=2, bias=True, weight ~ MeanFieldNormal" in repr(net)
        assert "bias ~" not in repr(net)

    def test_reset_parameters_starts_training_anew(self):
        layer = bnn.Linear(50, 20, prior="pretrained")
        with torch.no_grad():
            for p in layer.parameters():
                p.fill_(3.0)
        layer.reset_parameters()
        assert layer.weight_loc.abs().max() <= 50**-0.5
        assert layer.weight_loc.std() > 0
        assert torch.equal(layer.weight_prior_loc, layer.weight_loc)
        assert len(layer.weight_rho.unique()) == 1
        assert (layer.weight_rho < 0).all()

    def test_reset_parameters_of_a_converted_module(self):
        net = pt.bayesianize(nn.LSTM(3, 4))
        with torch.no_grad():
            net.weight_ih_l0_loc.fill_(9.0)
        net.reset_parameters()
        assert net.weight_ih_l0_loc.abs().max() <= 0.5


class TestAssignment:
    def pair(self):
        return pt.bayesianize(nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}))

    def test_another_layers_parameter_ties_the_two(self):
        net = self.pair()
        count = len(list(bnn.random_parameters(net)))
        net.a.weight = net.b.weight
        assert net.a.weight_loc is net.b.weight_loc
        assert len(list(bnn.random_parameters(net))) == count - 1
        with bnn.shared_draw(net):
            assert torch.equal(net.a.weight, net.b.weight)
        assert len(list(net.parameters())) == 6
        copied = copy.deepcopy(net)
        assert copied.a.weight_loc is copied.b.weight_loc
        with bnn.shared_draw(copied):
            assert torch.equal(copied.a.weight, copied.b.weight)

    def test_its_own_parameter_changes_nothing(self):
        net = self.pair()
        before = dict(net.state_dict())
        net.a.weight = net.a.weight
        assert list(net.state_dict()) == list(before)
        assert net.a(torch.ones(1, 3)).isfinite().all()

    def test_a_parameter_becomes_the_mean(self):
        net = self.pair()
        new = nn.Parameter(torch.full((3, 3), 7.0))
        net.a.weight = new
        assert net.a.weight_loc is new
        assert (net.a.weight - 7).abs().max() < 1

    def test_a_parameter_of_its_own_ends_a_tie(self):
        net = self.pair()
        net.a.weight = net.b.weight
        net.a.weight = nn.Parameter(torch.full((3, 3), 100.0))
        with bnn.shared_draw(net):
            assert (net.a.weight - 100).abs().max() < 5
            assert net.b.weight.abs().max() < 5

    def test_none_takes_the_parameter_away(self):
        net = self.pair()
        net.a.bias = None
        assert net.a.bias is None
        assert [name for name, _ in net.a.named_parameters()] == ["weight_loc", "weight_rho"]
        assert not any("bias" in name for name, _ in net.a.named_buffers())
        assert net.a(torch.zeros(1, 3)).eq(0).all()

    def test_what_does_not_fit_is_refused(self):
        net = self.pair()
        with pytest.raises(ValueError, match=r"shape \[2, 3\] to the random parameter 'weight' of shape \[3, 3\]"):
            net.a.weight = nn.Parameter(torch.zeros(2, 3))
        with pytest.raises(TypeError, match="cannot assign Tensor to the random parameter 'weight'"):
            net.a.weight = torch.zeros(3, 3)

    def test_a_parameter_that_is_not_random_is_torchs_business(self):
        net = pt.bayesianize(nn.Linear(3, 3), include="bias")
        new = nn.Parameter(torch.zeros(3, 3))
        net.weight = new
        assert net.weight is new
        assert "weight" in dict(net.named_parameters())


@pytest.mark.parametrize("include", [None, "bias"])
def test_hooks_that_set_the_weight_work(include):
    layer = torch.nn.utils.spectral_norm(nn.Linear(4, 4)).eval()
    x = torch.randn(2, 4)
    with torch.no_grad():
        expected = layer(x)
    net = pt.bayesianize(layer, include=include, posterior=bnn.MeanFieldNormal(1e-6))
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-4)


def test_random_parameters_lists_each_once_with_its_place():
    layer = bnn.Linear(2, 2)
    net = nn.Sequential(layer, nn.BatchNorm1d(2), layer, bnn.Conv1d(1, 1, 1, bias=False))
    found = [(type(m).__name__, name) for m, name, _ in bnn.random_parameters(net)]
    assert found == [("Linear", "weight"), ("Linear", "bias"), ("Conv1d", "weight")]


@pytest.mark.parametrize("moment", ["opening", "closing"])
def test_an_interrupt_while_a_draw_opens_or_closes_leaves_nothing_open(monkeypatch, moment):
    net = pt.bayesianize(nn.Sequential(*(nn.Linear(3, 3) for _ in range(4))))
    name = "open" if moment == "opening" else "close"
    original, calls = getattr(RandomParameter, name), []

    def interrupted(self, *args):
        calls.append(self)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, *args)

    x = torch.ones(1, 3)
    with monkeypatch.context() as patch:
        patch.setattr(RandomParameter, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            net(x)
    assert not torch.equal(net(x), net(x))
    assert all(random.slot() is None for _, _, random in bnn.random_parameters(net))


def test_an_initialiser_given_to_apply_writes_to_the_means():
    net = pt.bayesianize(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)))

    def sevens(module):
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 7.0)

    assert net.apply(sevens) is net
    assert (net[0].weight_loc == 7).all()
    assert (net[2].weight_loc == 7).all()
    assert not torch.equal(net[0].weight, net[0].weight)


def test_the_padding_of_an_embedding_stays_silent():
    net = pt.bayesianize(nn.Embedding(5, 3, padding_idx=0))
    out = net(torch.tensor([0, 1, 0]))
    assert (out[[0, 2]] == 0).all()
    assert (out[1] != 0).all()
    out.sum().backward()
    assert (net.weight_rho.grad[0] == 0).all()


def test_data_parallel_replicas_of_a_recurrent_layer():
    replica = pt.bayesianize(nn.LSTM(3, 4))._replicate_for_data_parallel()
    assert type(replica).__name__ == "BayesianLSTM"


def test_an_embedding_with_padding_is_initialised_anew():
    net = pt.bayesianize(nn.Embedding(5, 3, padding_idx=0))
    before = net.weight_loc.clone()
    net.reset_parameters()
    assert not torch.equal(net.weight_loc[1:], before[1:])
    assert (net.weight_loc[0] == 0).all()
    net.apply(lambda module: nn.init.constant_(module.weight, 7.0))
    assert (net.weight_loc == 7).all()
