"""Selectors, and the list of parameters that they choose from."""

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import nn as bnn
from posterity.transform.selection import as_selectors, candidates, check_all_match, selects
from tests.transform.zoo import TiedWeights, tied_modules


def named(model: nn.Module) -> dict[str, object]:
    return {c.name: c for c in candidates(model)}


def test_every_parameter_is_a_candidate_with_its_place():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    found = named(net)
    assert list(found) == [name for name, _ in net.named_parameters()]
    inner = found["1.0.weight"]
    assert (inner.attribute, inner.path, inner.module) == ("weight", "1.0", net[1][0])
    assert list(inner.modules) == ["", "1", "1.0"]
    assert not inner.is_random


def test_random_parameters_go_by_their_own_name():
    found = named(pt.bayesianize(nn.Linear(2, 3), include="weight"))
    assert {name: c.is_random for name, c in found.items()} == {"weight": True, "bias": False}


def test_a_shared_module_is_listed_once_and_a_shared_parameter_for_each_holder():
    assert list(named(tied_modules())) == ["0.weight", "0.bias"]
    found = named(TiedWeights())
    assert list(found) == ["embedding.weight", "head.weight"]
    assert found["embedding.weight"].parameter is found["head.weight"].parameter


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("*", True),
        ("1", True),
        ("1.0", True),
        ("1.0.weight", True),
        ("*.weight", True),
        ("1.?.w*", True),
        ("0", False),
        ("weight", False),
        ("1.0.Weight", False),
        (nn.BatchNorm1d, True),
        (nn.Module, True),
        (nn.Linear, False),
        (lambda name, module: module.num_features == 3 and name == "1.0.weight", True),
        (lambda name, module: 0, False),
    ],
)
def test_what_a_selector_chooses(selector, chosen):
    candidate = named(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3))))["1.0.weight"]
    assert selects(selector, candidate) is chosen


def test_one_selector_or_several():
    assert as_selectors("include", None) is None
    assert as_selectors("include", "a") == ("a",)
    assert as_selectors("include", nn.Linear) == (nn.Linear,)
    assert as_selectors("include", {"a": 1, nn.Linear: 2}) == ("a", nn.Linear)
    assert as_selectors("include", []) == ()


@pytest.mark.parametrize("wrong", [1, [1], torch.Tensor, ["a", int]])
def test_what_is_no_selector_is_named(wrong):
    with pytest.raises(TypeError, match="exclude takes name patterns, layer types and functions of"):
        as_selectors("exclude", wrong)


def test_a_bayesian_layer_is_chosen_by_torchs_type():
    candidate = named(nn.Sequential(bnn.Linear(2, 2)))["0.weight"]
    assert selects(nn.Linear, candidate)
    assert candidate.is_random


def test_the_names_that_there_are_are_listed_up_to_eight():
    found = candidates(nn.Sequential(*(nn.Linear(2, 2) for _ in range(5))))
    with pytest.raises(ValueError, match=r"include: 'x' matches no parameter; there are 0.weight, .*3.bias, \.\.\.$"):
        check_all_match("include", ["*", "x"], found)
