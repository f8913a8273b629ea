"""SiteParameters: any site name is a key."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from posterity.infer.guides.parameters import SiteParameters

NAMES = ["x", "net.layer.weight", "half", "type", "forward", "training", "a<b", "a b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_site_of_any_name_has_a_parameter(name):
    parameters = SiteParameters({name: torch.ones(2)})
    assert isinstance(parameters[name], nn.Parameter)
    assert name in parameters
    assert "y" not in parameters
    assert list(dict(parameters.named_parameters()).values()) == [parameters[name]]
    assert parameters.half()[name].dtype == torch.float16


def test_state_goes_from_one_to_another():
    parameters = SiteParameters({name: torch.full((2,), float(i)) for i, name in enumerate(NAMES)})
    other = SiteParameters({name: torch.zeros(2) for name in NAMES})
    other.load_state_dict(parameters.state_dict())
    assert all(torch.equal(other[name], parameters[name]) for name in NAMES)


def test_functional_call_replaces_what_is_read():
    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = SiteParameters({"net.weight": torch.zeros(2)})

        def forward(self):
            return self.loc["net.weight"]

    assert functional_call(Owner(), {"loc.net/weight": torch.ones(2)}, ()).tolist() == [1, 1]


def test_the_first_values_are_copied():
    first = torch.zeros(()).expand(3)
    parameters = SiteParameters({"x": first})
    with torch.no_grad():
        parameters["x"][0] = 1.0
    assert parameters["x"].tolist() == [1, 0, 0]
    assert first.tolist() == [0, 0, 0]
