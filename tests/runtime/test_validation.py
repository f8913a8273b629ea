"""The library's own switch for checks of values."""

import pytest
import torch

import posterity as pt
from posterity import runtime


@pytest.mark.usefixtures("no_validation")
def test_off_means_that_values_are_not_read():
    assert not runtime.validation_enabled()
    nan = torch.tensor(float("nan"))
    assert pt.elbo_loss(pt.nn.Linear(2, 2), nan, num_data=1).isnan()


def test_it_says_what_it_was():
    assert runtime.set_validation(False) is True
    assert runtime.set_validation(True) is False
    assert runtime.validation_enabled()


def test_torchs_switch_is_another():
    before = torch.distributions.Distribution._validate_args
    try:
        torch.distributions.Distribution.set_default_validate_args(False)
        assert runtime.validation_enabled()
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)
