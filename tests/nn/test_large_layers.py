"""Layers large enough for native code: seeds govern, draws have the posterior's law, a training step is one graph."""

import pytest
import torch
import torch.nn.functional as F

from posterity import nn as bnn
from posterity.kernels.normal_weights import WORTHWHILE, is_available
from posterity.nn.predictive import stochastic_draws
from tests.statistical import quantile

pytestmark = pytest.mark.skipif(not is_available(), reason="no C++ compiler")

FEATURES, UNITS = 256, 200
ESTIMATORS = ["reparam", "flipout", "local"]


def layer(estimator="reparam"):
    made = bnn.Linear(FEATURES, UNITS, estimator=estimator)
    assert made.weight_loc.numel() >= WORTHWHILE
    return made


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_seed_gives_the_same_output_and_gradients(estimator):
    linear, x = layer(estimator), torch.randn(WORTHWHILE // UNITS + 1, FEATURES)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        output = linear(x)
        results.append([output, *torch.autograd.grad(output.square().sum(), [linear.weight_loc, linear.weight_rho])])
    assert all(map(torch.equal, results[0], results[1]))
    assert not any(map(torch.equal, results[0], results[2]))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_with_gradients_without_and_frozen_the_draws_are_the_same(estimator):
    linear, x = layer(estimator), torch.randn(8, FEATURES)
    outputs = []
    torch.manual_seed(1)
    outputs.append(linear(x))
    with torch.no_grad():
        torch.manual_seed(1)
        outputs.append(linear(x))
        with bnn.frozen_posterior(linear):
            torch.manual_seed(1)
            outputs.append(linear(x))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_generator_governs_predictive_draws(estimator):
    linear, x = layer(estimator), torch.randn(3, FEATURES)
    first, again, other = (stochastic_draws(linear, x, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique()) == first.numel()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_outputs_have_the_posteriors_mean_and_variance(estimator):
    linear, x = layer(estimator), torch.randn(1, FEATURES)
    with torch.no_grad():
        draws = torch.stack([linear(x)[0] for _ in range(400)]).double()
        mean = F.linear(x, linear.weight_loc, linear.bias_loc)[0].double()
        scales = (F.softplus(linear.weight_rho), F.softplus(linear.bias_rho))
        variance = F.linear(x.square(), scales[0].square(), scales[1].square())[0].double()
    standard = (draws - mean) / variance.sqrt()
    count = standard.numel()
    assert abs(standard.mean()) < quantile() / count**0.5
    assert abs(standard.square().mean() - 1) < quantile() * (2 / count) ** 0.5


def test_the_kl_is_torchs():
    linear = layer()
    q = torch.distributions.Normal(linear.weight_loc.double(), F.softplus(linear.weight_rho.double()))
    b = torch.distributions.Normal(linear.bias_loc.double(), F.softplus(linear.bias_rho.double()))
    priors = [torch.distributions.Normal(0.0, s.double()) for s in (linear.weight_prior_scale, linear.bias_prior_scale)]
    expected = sum(torch.distributions.kl_divergence(*pair).sum() for pair in zip((q, b), priors, strict=True))
    torch.testing.assert_close(bnn.kl_divergence(linear).double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_training_step_is_one_graph(estimator):
    linear, x = layer(estimator), torch.randn(WORTHWHILE // UNITS + 1, FEATURES)

    def loss():
        return linear(x).square().mean() + bnn.kl_divergence(linear) / 1000

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    first = compiled()
    torch.manual_seed(0)
    assert torch.equal(compiled(), first)
    gradients = torch.autograd.grad(first, list(linear.parameters()))
    assert all(g.isfinite().all() and g.any() for g in gradients)


def test_second_derivatives_reach_the_spreads():
    linear, x = layer(), torch.randn(4, FEATURES)
    (first,) = torch.autograd.grad(linear(x).square().sum(), linear.weight_rho, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), linear.weight_rho)
    assert second.isfinite().all()
    assert second.any()
