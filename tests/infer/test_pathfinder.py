"""Pathfinder's draws are near the posterior, and exact where that is normal."""

import math

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Pathfinder
from posterity.infer.initialization import init_to_value
from posterity.infer.pathfinder import _Normals
from posterity.infer.quasi_newton import History
from tests.infer.test_quasi_newton import dense, filled, spd
from tests.statistical import assert_mean, quantile

LOC = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
COVARIANCE = torch.linalg.inv(spd(5, seed=3))


def correlated():
    pt.sample("w", dist.MultivariateNormal(LOC, COVARIANCE))


@pytest.mark.parametrize("num_paths", [1, 6])
def test_a_correlated_normal(num_paths):
    pathfinder = Pathfinder(correlated, num_paths=num_paths, num_samples=2000, tolerance=0.0, seed=0, progress=False)
    found = pathfinder.run()
    draws = found.samples["w"]
    # The density is normalised: at the posterior the bound is 0, else less by the KL divergence.
    assert found.elbo.max() < 0.05
    assert found.elbo.max() > -0.1
    # A KL divergence of K moves a mean by at most sqrt(2 K) of its standard deviations; resampled draws repeat.
    error = quantile(5) * (2 / 2000) ** 0.5
    off = (draws.mean(0) - LOC) / COVARIANCE.diagonal().sqrt()
    assert (off.abs() < error + (0.2 if num_paths == 1 else 0.05)).all()
    correlations = torch.corrcoef(draws.mT) - COVARIANCE / torch.outer(*[COVARIANCE.diagonal().sqrt()] * 2)
    assert (correlations.abs() < error + 0.15).all()


def eight_schools(sigma, y):
    mu = pt.sample("mu", dist.Normal(y.new_zeros(()), 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(y.new_tensor(5.0)))
    with pt.plate("schools", len(y)):
        effect = pt.sample("effect", dist.Normal(y.new_zeros(()), 1.0))
        pt.sample("y", dist.Normal(mu + tau * effect, sigma), obs=y)


SIGMA = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)
SCHOOLS = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)


def eight_schools_posterior():
    """Means and standard deviations of mu, log tau and the schools' effects: normal given tau, which is on a grid."""
    log_tau = torch.linspace(-8, 6, 2001, dtype=torch.float64)
    variance = SIGMA.square() + (2 * log_tau).exp().unsqueeze(-1)
    precision = 1 / 25 + (1 / variance).sum(-1)
    mu = (SCHOOLS / variance).sum(-1) / precision
    evidence = (-SCHOOLS.square() / variance - variance.log()).sum(-1) / 2 + (
        mu.square() * precision - precision.log()
    ) / 2
    weights = (evidence + log_tau - (1 + (2 * log_tau).exp() / 25).log()).softmax(0)
    share = (2 * log_tau).exp().unsqueeze(-1) / variance
    theta = share * SCHOOLS + (1 - share) * mu.unsqueeze(-1)
    spread = share * SIGMA.square() + (1 - share).square() / precision.unsqueeze(-1)
    given = torch.cat([mu.unsqueeze(-1), log_tau.unsqueeze(-1), theta], -1)
    within = torch.cat([1 / precision.unsqueeze(-1), torch.zeros_like(mu).unsqueeze(-1), spread], -1)
    mean = weights @ given
    return mean, (weights @ (within + (given - mean).square())).sqrt()


def test_eight_schools():
    found = Pathfinder(eight_schools, num_paths=20, seed=0, progress=False).run(SIGMA, SCHOOLS)
    mu, tau = found.samples["mu"].unsqueeze(-1), found.samples["tau"].unsqueeze(-1)
    draws = torch.cat([mu, tau.log(), mu + tau * found.samples["effect"]], -1)
    mean, deviation = eight_schools_posterior()
    # A funnel is not normal on unconstrained space: the draws are near the posterior, within a standard deviation.
    assert ((draws.mean(0) - mean).abs() < deviation).all()
    assert (draws.std(0) < 2 * deviation).all()
    assert (draws.std(0) > deviation / 3).all()
    # All bounds are below the log evidence of -31.33 but for their noise; the best of them is near.
    assert -33.5 < found.elbo.max() < -31.2


def test_draws_have_the_density_that_is_said():
    history = filled(spd(6), 5)
    point, gradient = torch.randn(1, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    normals = _Normals(point, gradient, history.inverse_hessian())
    covariance = dense(history.inverse_hessian())[0]
    mean = point[0] + covariance @ gradient[0]
    reference = torch.distributions.MultivariateNormal(mean, covariance)
    draws, density = normals.draw(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(density[:, 0], reference.log_prob(draws[:, 0]))
    torch.testing.assert_close(normals.mixture_log_density(draws[:, 0]), density[:, 0])
    assert_mean(draws[:, 0], mean)
    centred = draws[:, 0] - mean
    assert_mean(centred.unsqueeze(-1) * centred.unsqueeze(-2), covariance)


def test_a_mixture_is_the_mean_of_its_parts():
    single = filled(spd(3), 3)
    twice = History(*(torch.cat([part, part]) for part in single))
    points = torch.randn(2, 3, dtype=torch.float64)
    normals = _Normals(points, torch.zeros(2, 3, dtype=torch.float64), twice.inverse_hessian())
    covariance = dense(twice.inverse_hessian())
    at = torch.randn(7, 3, dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(points, covariance).log_prob(at.unsqueeze(1))
    torch.testing.assert_close(normals.mixture_log_density(at), parts.logsumexp(-1) - math.log(2))


def test_draws_are_given_on_both_spaces_and_seeded():
    def model():
        pt.sample("rate", dist.Gamma(torch.full((2,), 3.0), 1.0).to_event(1))

    runs = [Pathfinder(model, num_paths=3, num_samples=50, seed=2, progress=False).run() for _ in range(2)]
    assert torch.equal(runs[0].unconstrained, runs[1].unconstrained)
    assert runs[0].unconstrained.shape == (50, 2)
    torch.testing.assert_close(runs[0].samples["rate"], runs[0].unconstrained.exp())
    assert runs[0].elbo.shape == (3,)


def test_a_path_that_cannot_begin_is_an_error():
    def model():
        x = pt.sample("x", dist.Normal(torch.zeros(()), 1.0))
        pt.factor("spike", torch.where(x == 0.25, 0.0, -math.inf))

    with pytest.raises(RuntimeError, match="no path found a normal distribution"):
        Pathfinder(model, init=init_to_value(values={"x": 0.25}), progress=False, seed=0).run()


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="num_paths must be a whole number of at least 1, not 0"):
        Pathfinder(correlated, num_paths=0)
    with pytest.raises(ValueError, match="tolerance must not be negative"):
        Pathfinder(correlated, tolerance=-1.0)
