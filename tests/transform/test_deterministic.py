"""The way back to an ordinary network; `test_bayesianize` makes the round trip with every kind of network."""

import pickle

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import nn as bnn


def test_a_network_of_bayesian_layers():
    net = nn.Sequential(bnn.Conv1d(1, 2, 3), nn.Flatten(), bnn.Linear(4, 3, estimator="local"))
    back = pt.transform.deterministic(net)
    assert [type(m) for m in back] == [nn.Conv1d, nn.Flatten, nn.Linear]
    assert torch.equal(back[2].weight, net[2].weight_loc)
    x = torch.randn(2, 1, 4)
    assert torch.equal(back(x), back(x))
    assert isinstance(net[0], bnn.Conv1d)


def test_the_result_is_the_network_at_the_posterior_mean():
    net = pt.bayesianize(nn.Linear(3, 2))
    with torch.no_grad():
        net.weight_loc += 1
    back = pt.transform.deterministic(net)
    assert torch.equal(back.weight, net.weight_loc)
    with torch.no_grad():
        back.weight.zero_()
    assert net.weight_loc.any()


def test_inplace():
    net = pt.bayesianize(nn.Sequential(nn.Linear(3, 2)))
    assert pt.transform.deterministic(net, inplace=True) is net
    assert type(net) is nn.Sequential
    assert type(net[0]) is nn.Linear


def test_the_result_can_be_made_bayesian_again_and_pickled():
    back = pt.transform.deterministic(pt.bayesianize(nn.LSTM(2, 3)))
    again = pt.bayesianize(pickle.loads(pickle.dumps(back)))
    assert isinstance(again, nn.LSTM)
    assert not torch.equal(again(torch.ones(1, 1, 2))[0], again(torch.ones(1, 1, 2))[0])


def test_what_is_ordinary_already():
    with pytest.raises(ValueError, match="deterministic: Linear has no random parameters; it is ordinary already"):
        pt.transform.deterministic(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"deterministic: model must be a torch\.nn\.Module, got int"):
        pt.transform.deterministic(3)


def test_bayesian_again_after_the_spread_was_trained():
    net = pt.bayesianize(nn.Linear(3, 2), posterior=bnn.MeanFieldNormal(0.5))
    assert not any("rho" in name or "prior" in name for name in pt.transform.deterministic(net).state_dict())
