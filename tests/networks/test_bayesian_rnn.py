"""Recurrent networks with random weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, unpack_sequence

import posterity as pt
from posterity import distributions as dist
from posterity.networks import BayesianRNN

LENGTHS = torch.tensor([3, 6, 1, 5])


def without_spread(net):
    for name, parameter in net.named_parameters():
        if name.endswith("_rho"):
            nn.init.constant_(parameter, -100.0)
    return net


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_spread_it_is_torch_s_own(cell, num_layers, bidirectional):
    net = without_spread(BayesianRNN(3, 5, 2, cell=cell, num_layers=num_layers, bidirectional=bidirectional))
    plain = pt.transform.deterministic(net)
    own = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    assert type(plain.rnn) is own
    x = torch.randn(4, 6, 3)
    torch.testing.assert_close(net(x), plain.head(plain.rnn(x)[0]))
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    states = unpack_sequence(plain.rnn(packed)[0])
    for found, state, length in zip(net(x, LENGTHS), states, LENGTHS, strict=True):
        torch.testing.assert_close(found[:length], plain.head(state))
        assert (found[length:] == 0).all()


def test_one_draw_holds_for_the_whole_sequence():
    net = BayesianRNN(1, 4, 1, cell="rnn", posterior=pt.nn.MeanFieldNormal())
    # An input that resets the state: with the same weights, equal inputs at different steps give equal outputs.
    net.rnn.weight_hh_l0_rho.data.fill_(-100.0)
    net.rnn.weight_hh_l0_loc.data.zero_()
    out = net(torch.ones(2, 7, 1))
    torch.testing.assert_close(out, out[:1, :1].expand_as(out))
    assert not torch.equal(out, net(torch.ones(2, 7, 1)))


@pytest.mark.parametrize("outputs", ["all", "channels", "last"])
def test_what_stands_in_the_padding_does_not_matter(outputs):
    net = BayesianRNN(3, 5, 2, num_layers=2, bidirectional=True, outputs=outputs)
    x = torch.randn(4, 6, 3)
    other = torch.where((torch.arange(6) < LENGTHS.unsqueeze(-1)).unsqueeze(-1), x, torch.nan)
    longer = F.pad(x, (0, 0, 0, 4))
    with pt.nn.shared_draw(net):
        first, second, third = net(x, LENGTHS), net(other, LENGTHS), net(longer, LENGTHS)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    if outputs == "channels":
        third = third.mT
        first = first.mT
    torch.testing.assert_close(first, third if outputs == "last" else third[:, :6])


def test_packed_sequences_are_taken_and_given():
    net = BayesianRNN(3, 5, 2)
    x = torch.randn(4, 6, 3)
    packed = pack_sequence([row[:length] for row, length in zip(x, LENGTHS, strict=True)], enforce_sorted=False)
    with pt.nn.shared_draw(net):
        found, expected = unpack_sequence(net(packed)), net(x, LENGTHS)
    for one, row, length in zip(found, expected, LENGTHS, strict=True):
        torch.testing.assert_close(one, row[:length])


def test_the_last_output_is_that_of_each_sequence_s_own_last_step():
    net = BayesianRNN(3, 5, 2, num_layers=2)
    last = copy.copy(net)
    last.outputs = "last"
    x = torch.randn(4, 6, 3)
    with pt.nn.shared_draw(net):
        torch.testing.assert_close(last(x, LENGTHS), net(x, LENGTHS)[torch.arange(4), LENGTHS - 1])


def test_the_divergence_counts_each_weight_once():
    net = BayesianRNN(3, 5, 2, cell="gru", prior=dist.Normal(0.0, 1.0))
    expected = 0.0
    for layer in (net.rnn, net.head):
        for name in layer._random:
            loc, rho = getattr(layer, f"{name}_loc"), getattr(layer, f"{name}_rho")
            q = torch.distributions.Normal(loc, F.softplus(rho))
            expected = expected + torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(pt.nn.kl_divergence(net), expected)
    nll = net(torch.randn(2, 9, 3)).square().mean()
    torch.testing.assert_close(pt.elbo_loss(net, nll, num_data=18), nll + expected / 18)


def test_prediction_takes_sequences_and_lengths():
    x = torch.randn(4, 6, 3)
    net = BayesianRNN(3, 5, 2)
    with pytest.warns(UserWarning, match="has never been trained"):
        p = pt.predict(net, (x, LENGTHS), num_samples=8, task="regression", likelihood=0.5)
    assert p.mean.shape == p.epistemic.shape == (4, 6, 2)
    torch.testing.assert_close(p.aleatoric, torch.full((4, 6, 2), 0.25))
    net = BayesianRNN(3, 5, 7, outputs="channels")
    with pytest.warns(UserWarning, match="has never been trained"):
        p = pt.predict(net, (x, LENGTHS), num_samples=8, task="classification")
    torch.testing.assert_close(p.mean.sum(1), torch.ones(4, 6))


def test_it_learns_to_remember():
    net = BayesianRNN(1, 8, 1, cell="gru", outputs="last")
    x = torch.randn(256, 5, 1)
    y = x[:, 0] - x[:, 2]
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2, fused=True)
    for _ in range(250):
        optimizer.zero_grad()
        nll = -dist.Normal(net(x), 0.1).log_prob(y).mean()
        pt.elbo_loss(net, nll, num_data=256).backward()
        optimizer.step()
    p = pt.predict(net, x, num_samples=16, task="regression", likelihood=0.1)
    assert (p.mean - y).square().mean() < 0.1 * y.var()


def test_weights_are_sites_of_a_program():
    net = BayesianRNN(2, 3, 1)

    def model(x):
        return pt.module("net", net)(x)

    trace = pt.handlers.trace(model).get_trace(torch.randn(2, 4, 2))
    assert {"net.rnn.weight_ih_l0", "net.rnn.bias_hh_l0", "net.head.weight"} <= set(trace)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size must be a whole number of at least 1"),
        ({"output_size": 0}, "output_size must be a whole number"),
        ({"num_layers": 0}, "num_layers must be a whole number"),
        ({"cell": "mamba"}, "cell must be 'lstm', 'gru' or 'rnn', got 'mamba'"),
        ({"outputs": "first"}, "outputs must be 'all', 'channels' or 'last'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"dropout": 0.5}, "num_layers=1 has no pair"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BayesianRNN(**{"input_size": 3, "hidden_size": 4} | options)


def test_bad_sequences_are_refused():
    net = BayesianRNN(3, 4)
    x = torch.randn(2, 5, 3)
    with pytest.raises(ValueError, match=r"\[batch, time, input_size=3\], got \[2, 5, 4\]"):
        net(torch.randn(2, 5, 4))
    with pytest.raises(TypeError, match=r"x must be a tensor \[batch, time, input_size=3\] or a PackedSequence"):
        net([1.0])
    with pytest.raises(ValueError, match="x has 30 values that are NaN or infinite"):
        net(x * torch.nan)
    with pytest.raises(TypeError, match="packed sequences know their lengths"):
        net(pack_sequence([x[0]]), torch.tensor([5]))
    for lengths, kind, message in (
        (torch.tensor([1.0, 2.0]), TypeError, "whole numbers, got torch.float32"),
        ([1, 2], TypeError, "whole numbers, got list"),
        (torch.tensor([1]), ValueError, r"one entry for each of the 2 sequences, got \[1\]"),
        (torch.tensor([0, 5]), ValueError, "lengths must be from 1 to 5, the steps of the batch, got 0 to 5"),
        (torch.tensor([1, 6]), ValueError, "got 1 to 6"),
    ):
        with pytest.raises(kind, match=message):
            net(x, lengths)
