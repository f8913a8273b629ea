"""Standardised units inside a network."""

import torch

from posterity.networks.standardization import Standardization


def test_what_was_measured_has_mean_zero_and_spread_one():
    data = torch.randn(50, 3) * torch.tensor([1.0, 100.0, 1e-3]) + torch.tensor([0.0, -7.0, 2.0])
    standardize = Standardization()
    assert standardize(data) is not data
    assert torch.equal(standardize(data), data)
    standardize.measure(data)
    z = standardize(data)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(standardize.inverse(z), data)


def test_a_constant_column_keeps_its_scale():
    standardize = Standardization()
    standardize.measure(torch.full((9, 1), 0.1))
    assert standardize.scale.item() == 1


def test_images_have_one_scale_for_all_pixels():
    standardize = Standardization()
    standardize.measure(torch.rand(5, 1, 4, 4))
    assert standardize.loc.shape == ()


def test_tokens_stay_whole():
    tokens = torch.arange(4)
    assert Standardization()(tokens) is tokens


def test_it_is_saved_and_loaded_whatever_its_shape():
    one, other = Standardization(), Standardization()
    one.measure(torch.randn(9, 3))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.scale, other.scale)
    one.measure(torch.randn(9, 3))
    assert not torch.equal(one.scale, other.scale)
