import pytest
import torch
from torch import nn

import posterity as pt
from posterity.ppl.recurrent import StepByStep

dist, handle = pt.distributions, pt.handlers

LAYERS = {
    "LSTM": lambda **kwargs: nn.LSTM(3, 2, **kwargs),
    "LSTM with projection": lambda **kwargs: nn.LSTM(3, 4, proj_size=2, **kwargs),
    "GRU": lambda **kwargs: nn.GRU(3, 2, **kwargs),
    "RNN": lambda **kwargs: nn.RNN(3, 2, **kwargs),
    "RNN of relu": lambda **kwargs: nn.RNN(3, 2, nonlinearity="relu", **kwargs),
}
SETTINGS = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_computes_what_torchs_does(layer, settings):
    network, x = LAYERS[layer](**settings).double(), torch.randn(5, 4, 3, dtype=torch.float64)
    with StepByStep():
        ours = network(x)
    assert_same(ours, network(x))


def test_a_given_start_and_unbatched_inputs_are_kept():
    network, x = nn.LSTM(3, 2).double(), torch.randn(5, 3, dtype=torch.float64)
    start = torch.randn(1, 2, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    with StepByStep():
        ours = network(x, start)
    assert_same(ours, network(x, start))


def test_packed_sequences_are_left_to_torch():
    network = nn.LSTM(3, 2)
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    with StepByStep():
        ours = network(packed)[0].data
    torch.testing.assert_close(ours, network(packed)[0].data)


def test_dropout_between_layers_is_drawn_in_training():
    network, x = nn.GRU(3, 2, num_layers=2, dropout=0.5), torch.randn(5, 4, 3)
    with StepByStep():
        assert not torch.equal(network(x)[0], network(x)[0])
        assert torch.equal(network.eval()(x)[0], network(x)[0])


@pytest.mark.parametrize("bayesian", [False, True])
@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_a_batch_of_weights_runs_under_vmap_inside_a_program(layer, bayesian):
    network, x = LAYERS[layer](), torch.randn(5, 4, 3)
    prior = None if bayesian else dist.Normal(0.0, 1.0)
    network = pt.bayesianize(network) if bayesian else network

    def output(weight):
        given = {"net.weight_ih_l0": weight}
        return handle.substitute(handle.seed(lambda: pt.module("net", network, prior=prior)(x)[0], 0), given)()

    weights = torch.randn(3, *LAYERS[layer]().weight_ih_l0.shape)
    alone = torch.stack([output(weight) for weight in weights])
    torch.testing.assert_close(torch.vmap(output)(weights), alone, rtol=1e-4, atol=1e-5)
    gradients = torch.vmap(torch.func.grad(lambda weight: output(weight).square().sum()))(weights)
    leaf = weights.clone().requires_grad_()
    (expected,) = torch.autograd.grad(torch.stack([output(weight) for weight in leaf]).square().sum(), leaf)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-4)
