"""Posterior families: what they store, draw and measure."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from posterity.kernels import Key
from posterity.nn.posteriors import Posterior, inverse_softplus, natural_scale
from tests.statistical import assert_mean, assert_normal_variance


@given(st.floats(1e-6, 1e2))
def test_inverse_softplus_inverts(scale):
    rho = torch.tensor(inverse_softplus(scale), dtype=torch.float64)
    assert abs(F.softplus(rho, threshold=100).item() / scale - 1) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mean_field_starts_at_the_value_with_the_scale_that_it_was_given(dtype):
    value = torch.randn(3, 4, dtype=dtype)
    tensors = bnn.MeanFieldNormal(initial_scale=0.02).init(value)
    assert torch.equal(tensors["loc"], value)
    assert tensors["loc"].data_ptr() != value.data_ptr()
    torch.testing.assert_close(F.softplus(tensors["rho"]), torch.full_like(value, 0.02))


def test_mean_field_draws_have_its_moments():
    family = bnn.MeanFieldNormal()
    tensors = {"loc": torch.randn(4, dtype=torch.float64), "rho": torch.randn(4, dtype=torch.float64)}
    draws = torch.stack([family.draw(tensors) for _ in range(5000)])
    assert_mean(draws, family.mean(tensors))
    assert_normal_variance(draws, F.softplus(tensors["rho"]).square())
    moments = family.moments(tensors)
    assert torch.equal(moments.loc, tensors["loc"])
    assert torch.equal(moments.scale, F.softplus(tensors["rho"]))
    assert torch.equal(family.distribution(tensors).stddev, moments.scale)


def test_a_source_decides_the_draw():
    family, tensors = bnn.MeanFieldNormal(), {"loc": torch.zeros(8), "rho": torch.zeros(8)}
    assert torch.equal(family.draw(tensors, Key(1)), family.draw(tensors, Key(1)))
    assert not torch.equal(family.draw(tensors, Key(1)), family.draw(tensors, Key(2)))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_mean_field_refuses_a_scale_that_is_none(scale):
    with pytest.raises(ValueError, match="MeanFieldNormal: initial_scale must be positive and finite"):
        bnn.MeanFieldNormal(initial_scale=scale)


@given(exponent=st.integers(1, 6), sign=st.sampled_from([-1.0, 1.0]))
def test_natural_scale_is_that_of_the_numbers_where_they_are_large(exponent, sign):
    assert abs(natural_scale(torch.full((3, 5), sign * 10.0**exponent)) / 10.0**exponent - 1) < 1e-6


def test_natural_scale_is_positive_and_needs_no_values():
    assert natural_scale(torch.zeros(4)) > 0
    assert natural_scale(torch.zeros(())) > 0
    assert natural_scale(torch.empty(10, 100, device="meta")) > 0


class TestDelta:
    def test_draws_and_mean_are_the_value(self):
        layer = bnn.Linear(3, 2, posterior=bnn.Delta())
        assert [name for name, _ in layer.named_parameters()] == ["weight_loc", "bias_loc"]
        x = torch.randn(4, 3)
        assert torch.equal(layer(x), F.linear(x, layer.weight_loc, layer.bias_loc))

    @pytest.mark.parametrize("estimator", ["flipout", "local"])
    def test_every_estimator_is_the_deterministic_layer(self, estimator):
        layer, x = bnn.Linear(3, 2, posterior=bnn.Delta(), estimator=estimator), torch.randn(4, 3)
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight_loc, layer.bias_loc))

    def test_kl_is_minus_log_prior(self):
        layer = bnn.Linear(3, 2, posterior=bnn.Delta(), prior=dist.Normal(0.0, 2.0))
        log_prior = torch.distributions.Normal(0.0, 2.0)
        expected = -sum(log_prior.log_prob(p).sum() for p in layer.parameters())
        torch.testing.assert_close(bnn.kl_divergence(layer), expected)

    def test_it_has_no_density(self):
        with pytest.raises(NotImplementedError, match="point mass has no density"):
            bnn.Delta().distribution({"loc": torch.zeros(1)})

    def test_the_network_copies_and_pickles_after_a_forward(self):
        layer = bnn.Linear(3, 2, posterior=bnn.Delta())
        layer(torch.ones(1, 3))
        assert torch.equal(copy.deepcopy(layer)(torch.ones(1, 3)), layer(torch.ones(1, 3)))


class Rademacher(Posterior):
    """A family of a user's own: loc plus or minus one spread."""

    keys = ("loc", "spread")

    def init(self, value):
        return {"loc": value.clone(), "spread": torch.full_like(value, 0.5)}

    def draw(self, tensors, source=None):
        return tensors["loc"] + tensors["spread"] * pt.kernels.rademacher(tensors["loc"].shape, source=source)

    def mean(self, tensors):
        return tensors["loc"]

    def distribution(self, tensors):
        raise NotImplementedError

    def kl(self, tensors, prior):
        return -prior.log_prob(tensors["loc"]).sum() - tensors["spread"].log().sum()


class TestOwnFamily:
    def test_it_is_drawn_trained_and_converted_back(self):
        net = nn.Linear(3, 2)
        converted = pt.bayesianize(net, posterior=Rademacher())
        deviation = (converted.weight - net.weight).abs()
        torch.testing.assert_close(deviation, torch.full_like(deviation, 0.5))
        (converted(torch.ones(2, 3)).sum() + bnn.kl_divergence(converted)).backward()
        assert all(p.grad is not None for p in converted.parameters())
        assert torch.equal(pt.transform.deterministic(converted).weight, net.weight)

    @pytest.mark.parametrize("estimator", ["flipout", "local"])
    def test_estimators_that_need_a_normal_refuse_it(self, estimator):
        message = f"estimator='{estimator}' needs a factorised normal posterior, and 'weight' has"
        with pytest.raises(ValueError, match=message):
            bnn.Linear(3, 2, posterior=Rademacher(), estimator=estimator)
        with pytest.raises(ValueError, match=message):
            pt.bayesianize(nn.Linear(3, 2), posterior=Rademacher(), estimator=estimator)
