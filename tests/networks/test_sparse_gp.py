"""Sparse variational Gaussian processes."""

import copy
import sys

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity.networks import SparseVariationalGP
from tests.statistical import assert_mean, assert_variance

gpytorch = pytest.importorskip("gpytorch")


def waves(num, seed):
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(num, 1, generator=generator) - 1
    return x, 10 + 4 * torch.sin(3 * x[:, 0]) + 0.8 * torch.randn(num, generator=generator)


def test_with_enough_inducing_points_it_is_the_exact_process():
    x, y = waves(30, seed=0)
    x, y = x.double(), (y.double() - 10) / 4
    gp = SparseVariationalGP(1, num_inducing=30).double()
    with torch.no_grad():
        gp.strategy.inducing_points.copy_(x)
        gp.prior.kernel.outputscale, gp.prior.kernel.base_kernel.lengthscale = 1.3, 0.5
    others = {"mean_module", "prior", "raw_noise", "inducing_points"}
    free = [p for name, p in gp.named_parameters() if not any(part in name for part in others)]
    optimizer = torch.optim.LBFGS(free, max_iter=400, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = gp.bound(x, y, 30)
        loss.backward()
        return loss

    bound = optimizer.step(closure)
    bound = closure().item()
    noise = gp.noise.detach()
    kernel = 1.3 * torch.exp(-0.5 * ((x - x.T) / 0.5).square())
    marginal = torch.distributions.MultivariateNormal(torch.zeros(30).double(), kernel + noise**2 * torch.eye(30))
    # GPyTorch's jitter of the kernel keeps the bound from the evidence itself.
    assert bound == pytest.approx(-marginal.log_prob(y).item() / 30, abs=1e-3)
    assert bound > -marginal.log_prob(y).item() / 30 - 1e-6
    new = torch.linspace(-1, 1, 7).double().unsqueeze(-1)
    cross = 1.3 * torch.exp(-0.5 * ((new - x.T) / 0.5).square())
    solved = torch.linalg.solve(kernel + noise**2 * torch.eye(30), torch.cat([y.unsqueeze(-1), cross.T], 1))
    found = gp.distribution(new)
    torch.testing.assert_close(found.mean, cross @ solved[:, 0], atol=2e-3, rtol=0)
    variance = 1.3 - (cross * solved[:, 1:].T).sum(-1) + noise**2
    torch.testing.assert_close(found.variance, variance, atol=2e-3, rtol=0)


def test_a_function_and_its_noise_are_found_in_the_units_of_the_data():
    x, y = waves(400, seed=1)
    gp = SparseVariationalGP(1, num_inducing=20)
    gp.fit(1000 * x, y, num_epochs=150, lr=5e-2, seed=0)
    grid = torch.linspace(-0.95, 0.95, 50).unsqueeze(-1)
    found = gp.distribution(1000 * grid)
    # The posterior of the function is as wide as its error; six of its standard deviations.
    with torch.no_grad(), pt.runtime.eval_mode(gp):
        width = gp.latent(1000 * grid).stddev
    assert ((found.mean - 10 - 4 * torch.sin(3 * grid[:, 0])).abs() < 6 * width + 0.05).all()
    # The standard error of a standard deviation of 400 draws, and what the kernel takes for itself.
    assert gp.noise.item() == pytest.approx(0.8, abs=4.9 * 0.8 / 800**0.5)


def test_prediction_tells_noise_from_ignorance():
    x, y = waves(200, seed=2)
    gp = SparseVariationalGP(1, num_inducing=20, kernel="matern52")
    gp.fit(x, y, num_epochs=100, lr=5e-2, seed=0)
    p = pt.predict(gp, torch.tensor([[0.0], [9.0]]), num_samples=400, task="regression")
    torch.testing.assert_close(p.aleatoric, gp.noise.detach().square().expand(2))
    assert p.epistemic[1] > 20 * p.epistemic[0]
    torch.testing.assert_close(p.distribution.variance, p.total)


def test_draws_have_the_moments_that_are_stated():
    x, y = waves(50, seed=3)
    gp = SparseVariationalGP(1, num_inducing=10)
    gp.fit(x, y, num_epochs=30, lr=5e-2, seed=0)
    with torch.no_grad():
        function = gp.latent(x[:5])
    means, scales = gp.predictive_draws(x[:5], 4000)
    assert_mean(means, function.mean.double())
    assert_variance(means, function.variance.double())
    assert torch.equal(scales, gp.noise.detach().expand(4000, 5))
    functions = gp.sample_functions(x[:5], 4000)
    assert_mean(functions, function.mean.double())
    # Neighbours in the data are neighbours in a function.
    near = gp.sample_functions(torch.tensor([[0.5], [0.5001]]), 1000)
    assert torch.corrcoef(near.T)[0, 1] > 0.99


def test_a_deep_kernel_trains_its_network():
    x, y = waves(200, seed=4)
    body = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2))
    before = copy.deepcopy(body[0].weight)
    gp = SparseVariationalGP(2, body, num_inducing=20)
    gp.fit(x, y, num_epochs=150, lr=2e-2, seed=0)
    assert not torch.equal(before, body[0].weight)
    assert gp.loss(x, y) < dist.Normal(y.mean(), y.std()).entropy() - 0.5


def test_a_bayesian_extractor_counts_its_divergence():
    gp = SparseVariationalGP(2, pt.nn.Linear(1, 2), num_inducing=5)
    x, y = waves(20, seed=5)
    with pt.nn.shared_draw(gp):
        gap = gp.bound(x, y, 10) - gp.bound(x, y, 1000)
    expected = (pt.nn.kl_divergence(gp) + gp.strategy.kl_divergence()) * (1 / 10 - 1 / 1000)
    torch.testing.assert_close(gap, expected, rtol=1e-3, atol=1e-4)


def test_loaded_weights_are_used_at_once():
    x, y = waves(60, seed=6)
    gp = SparseVariationalGP(1, num_inducing=10).eval()
    gp.distribution(x)  # GPyTorch remembers factors of the untrained kernel
    other = SparseVariationalGP(1, num_inducing=10)
    other.fit(x, y, num_epochs=30, lr=5e-2, seed=0)
    gp.load_state_dict(other.state_dict())
    torch.testing.assert_close(gp.distribution(x).mean, other.distribution(x).mean)
    twin = copy.deepcopy(other)
    torch.testing.assert_close(twin.distribution(x).mean, other.distribution(x).mean)


def test_few_examples_and_many_inducing_points_are_no_trouble():
    x, y = waves(8, seed=7)
    gp = SparseVariationalGP(1, num_inducing=30)
    assert gp.fit(x, y, num_epochs=20, seed=0).losses.isfinite().all()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features must be a whole number of at least 1"),
        ({"num_inducing": 0}, ValueError, "num_inducing must be a whole number of at least 1, got 0"),
        ({"kernel": "cosine"}, ValueError, "kernel must be one of 'rbf', 'matern12'"),
        ({"kernel": 3}, TypeError, "kernel must be a name or a gpytorch kernel, got int"),
        ({"feature_extractor": len}, TypeError, "body must be a torch.nn.Module"),
        ({"feature_extractor": nn.Linear(3, 4)}, ValueError, "set in_features=4"),
    ],
)
def test_bad_arguments_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        SparseVariationalGP(**{"in_features": 2} | options)


def test_bad_data_are_refused():
    gp = SparseVariationalGP(2, num_inducing=3)
    with pytest.raises(ValueError, match="set in_features=3"):
        gp.fit(torch.randn(9, 3), torch.randn(9))
    with pytest.raises(ValueError, match=r"y must have shape \[batch\], got \[9, 1\]"):
        gp.fit(torch.randn(9, 2), torch.randn(9, 1))
    with pytest.raises(ValueError, match="num_data must be a whole number"):
        gp.bound(torch.randn(9, 2), torch.randn(9), 0)
    with pytest.raises(ValueError, match="num_samples must be a whole number"):
        gp.sample_functions(torch.randn(9, 2), 0)


def test_without_gpytorch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpytorch", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'posterity\[gp\]'"):
        SparseVariationalGP(2)
