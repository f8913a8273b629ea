"""One parameter of one module made random, tied, and made ordinary again."""

import pytest
import torch
from torch import nn

from posterity import nn as bnn
from posterity.nn.conversion import as_random_module, forget, make_deterministic, randomize, tie


def randomized(module: nn.Module, *names: str) -> bnn.RandomModule:
    module = as_random_module(module, tuple(sorted(names)))
    for name in names:
        randomize(module, name, bnn.MeanFieldNormal(), bnn.FanIn())
    return module


def test_the_order_of_parameters_stays():
    module = nn.Linear(3, 2)
    randomized(module, "weight")
    assert [name for name, _ in module.named_parameters()] == ["weight_loc", "weight_rho", "bias"]


def test_the_class_is_a_subclass_that_knows_its_origin():
    cell = randomized(nn.GRUCell(2, 3), "weight_ih")
    assert isinstance(cell, nn.GRUCell)
    assert isinstance(cell, bnn.RandomModule)
    assert type(cell) is not nn.GRUCell
    assert type(randomized(nn.GRUCell(4, 3), "weight_ih")) is type(cell)


def test_randomizing_in_two_steps_is_randomizing_in_one():
    once, twice = nn.Bilinear(2, 2, 2), nn.Bilinear(2, 2, 2)
    randomized(once, "weight", "bias")
    randomized(randomized(twice, "weight"), "bias")
    assert set(once.state_dict()) == set(twice.state_dict())
    x = torch.ones(1, 2)
    assert not torch.equal(twice(x, x), twice(x, x))


def test_requires_grad_is_kept():
    module = nn.Linear(2, 2).requires_grad_(False)
    assert not any(p.requires_grad for p in randomized(module, "weight", "bias").parameters())


def test_tie_shares_posterior_prior_and_draw():
    a, b = randomized(nn.Linear(2, 2), "weight"), randomized(nn.Linear(2, 2), "weight")
    tie(a, "weight", b, "weight")
    assert a.weight_loc is b.weight_loc
    assert a.weight_rho is b.weight_rho
    assert a._random["weight"] is b._random["weight"]
    assert a.weight_prior_scale is b.weight_prior_scale


def test_forget_leaves_no_trace():
    module = nn.Linear(2, 2)
    keys, value = list(module.state_dict()), nn.Parameter(torch.ones(2, 2))
    randomized(module, "weight", "bias")
    forget(module, "weight", value)
    forget(module, "bias", nn.Parameter(torch.ones(2)))
    assert list(module.state_dict()) == keys
    assert module.weight is value


@pytest.mark.parametrize("make", [lambda: nn.LSTM(2, 3, 2, bidirectional=True), lambda: nn.Conv2d(1, 2, 3)])
def test_make_deterministic_restores_the_class(make):
    module = make()
    original, names = type(module), [name for name, _ in module.named_parameters()]
    values = {name: p.detach().clone() for name, p in module.named_parameters()}
    randomized(module, *names)
    make_deterministic(module)
    assert type(module) is original
    assert {"_random", "_estimator"}.isdisjoint(vars(module))
    assert [name for name, _ in module.named_parameters()] == names
    assert all(torch.equal(p, values[name]) for name, p in module.named_parameters())


def test_layers_with_different_estimators_cannot_be_tied():
    a, b = bnn.Linear(3, 3), bnn.Linear(3, 3, estimator="flipout")
    with pytest.raises(ValueError, match="cannot be tied: .* 'reparam' and 'flipout'"):
        a.weight = b.weight
