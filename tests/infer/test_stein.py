"""Particles moved by Stein's variational gradient stand for the posterior."""

import math

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import SVGD
from posterity.infer.stein import stein_force
from tests.infer import evidence
from tests.statistical import quantile

LOC = torch.tensor([3.0, -1.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)


def normal():
    pt.sample("x", dist.MultivariateNormal(LOC, COVARIANCE))


def test_the_moments_of_a_normal():
    found = SVGD(normal, num_particles=80, seed=0, progress=False, compile=False).run(600)
    draws = found.samples["x"]
    # The mean is exact at rest for a target that is symmetric; what is left of the force moves it.
    assert ((draws.mean(0) - LOC).abs() < 0.1 * COVARIANCE.diagonal().sqrt()).all()
    # No worse than independent draws, whose covariances have variances (s_ij^2 + s_ii s_jj) / n.
    products = torch.outer(COVARIANCE.diagonal(), COVARIANCE.diagonal())
    error = ((COVARIANCE.square() + products) / 80).sqrt()
    assert ((draws.mT.cov() - COVARIANCE).abs() < quantile(4) * error / 3).all()
    assert found.norms[-1] < 1e-2 * found.norms[0]
    assert found.norms.shape == (600,)


def test_the_force_is_the_formula():
    x = torch.randn(7, 3, dtype=torch.float64)
    gradients = torch.randn(7, 3, dtype=torch.float64)

    def kernel(a, b):
        return (-(a - b).square().sum() / 1.7).exp()

    expected = torch.zeros_like(x)
    for i in range(7):
        for j in range(7):
            slope = torch.func.grad(kernel)(x[j], x[i])
            expected[i] += (kernel(x[j], x[i]) * gradients[j] + slope) / 7
    torch.testing.assert_close(stein_force(x, gradients, 1.7), expected)


def test_the_bandwidth_is_the_median_over_the_logarithm_of_the_number():
    x = torch.randn(6, 2, dtype=torch.float64)
    gradients = torch.randn(6, 2, dtype=torch.float64)
    squares = torch.nn.functional.pdist(x).square()
    expected = stein_force(x, gradients, float(squares.median() / math.log(6)))
    torch.testing.assert_close(stein_force(x, gradients), expected)


def test_one_particle_climbs_to_the_mode():
    def model():
        pt.sample("x", dist.Gamma(torch.tensor(3.0, dtype=torch.float64), 1.0))

    svgd = SVGD(model, torch.optim.SGD, {"lr": 0.2}, num_particles=1, seed=0, progress=False)
    found = svgd.run(80)
    # On the logarithmic scale the density is exp(3 z - exp(z)).
    torch.testing.assert_close(found.samples["x"], torch.tensor([3.0], dtype=torch.float64), rtol=1e-3, atol=0)


def test_a_second_run_goes_on():
    def fresh():
        return SVGD(normal, num_particles=10, seed=4, progress=False, compile=False)

    whole, parts = fresh().run(20), fresh()
    first = parts.run(12)
    second = parts.run(8)
    torch.testing.assert_close(second.unconstrained, whole.unconstrained)
    torch.testing.assert_close(torch.cat([first.norms, second.norms]), whole.norms)


def test_the_captured_force_is_the_eager_one(monkeypatch):
    monkeypatch.setattr("posterity.infer.stein.capture", evidence.traced)
    options = {"num_particles": 5, "seed": 1, "progress": False}
    runs = [SVGD(normal, torch.optim.SGD, {"lr": 0.1}, compile=flag, **options).run(10) for flag in (True, False)]
    torch.testing.assert_close(runs[0].unconstrained, runs[1].unconstrained)


def test_a_gradient_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="take smaller steps"):
        SVGD(normal, torch.optim.SGD, {"lr": 1e200}, num_particles=5, seed=0, progress=False).run(20)


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="model must be callable, not a int"):
        SVGD(3)
    with pytest.raises(ValueError, match="num_particles must be a whole number of at least 1, not 0"):
        SVGD(normal, num_particles=0)
    with pytest.raises(ValueError, match="bandwidth must be positive, not -1"):
        SVGD(normal, bandwidth=-1.0)
    with pytest.raises(ValueError, match="compile must be True, False or 'auto'"):
        SVGD(normal, compile="yes")
    with pytest.raises(ValueError, match="num_steps must be a whole number of at least 1, not 0"):
        SVGD(normal).run(0)

    def model(size):
        pt.sample("x", dist.Normal(torch.zeros(size), 1.0).to_event(1))

    svgd = SVGD(model, num_particles=3, seed=0, progress=False)
    svgd.run(1, 2)
    with pytest.raises(ValueError, match="the particles have 2 dimensions, and the model has 3 now"):
        svgd.run(1, 3)
