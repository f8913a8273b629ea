"""Annealed importance sampling finds the evidence from the prior alone."""

import math
import sys

import pytest
import torch
from torch.distributions import MultivariateNormal

import posterity as pt
from posterity import distributions as dist
from posterity.infer import annealed_importance_sampling
from tests.infer import evidence
from tests.infer.test_log_evidence import mixture


def run(model, *args, **options):
    return annealed_importance_sampling(model, *args, progress=False, compile=False, **options)


@pytest.mark.parametrize(("dim", "number", "num_temperatures"), [(5, 30, 150), (20, 8, 150)])
def test_the_evidence_of_a_regression(dim, number, num_temperatures):
    x, y = evidence.regression_data(dim, number)
    found = run(evidence.regression, x, y, num_temperatures=num_temperatures, num_chains=200, num_leapfrog=5, seed=0)
    exact = evidence.regression_evidence(x, y)
    assert found.standard_error < 0.3
    assert (found.value - exact).abs() < 4 * found.standard_error
    # The ends are draws from the posterior, under their weights.
    loc, covariance = evidence.regression_posterior(x, y)
    weights = found.log_weights.softmax(0)
    error = (weights.square().sum() * covariance.diagonal()).sqrt()
    off = (weights @ found.samples["weights"] - loc).abs()
    assert (off < 6 * error).all()
    assert found.acceptance.shape == (num_temperatures,)
    assert found.effective_sample_size > 10
    assert found.pareto_k < 1
    assert found.acceptance.min() > 0.3


def test_the_evidence_of_a_hierarchical_model():
    found = run(evidence.groups, evidence.GROUPS, num_temperatures=60, num_chains=400, num_leapfrog=4, seed=0)
    assert found.standard_error < 0.15
    assert (found.value - evidence.groups_evidence(evidence.GROUPS)).abs() < 4 * found.standard_error
    assert found.samples["mean"].shape == (400, 6)
    assert (found.samples["spread"] > 0).all()


def test_without_annealing_it_is_importance_sampling_from_the_prior():
    def model():
        z = pt.sample("z", dist.Normal(torch.zeros((), dtype=torch.float64), 1.0))
        pt.sample("x", dist.Normal(z, 1.0), obs=torch.ones((), dtype=torch.float64))

    found = run(model, num_temperatures=1, num_chains=1000, num_leapfrog=1, seed=0)
    bound = torch.distributions.Normal(0.0, 1.0).log_prob(torch.zeros((), dtype=torch.float64))
    # One step weights a draw by its likelihood, which is nowhere greater than its height.
    assert (found.log_weights <= bound).all()
    exact = torch.distributions.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0))
    assert (found.value - exact).abs() < 4 * found.standard_error


def test_more_temperatures_make_the_error_smaller():
    x, y = evidence.regression_data(5)
    coarse, fine = (
        run(evidence.regression, x, y, num_temperatures=number, num_chains=300, num_leapfrog=3, seed=0)
        for number in (3, 40)
    )
    # The variance of the log weights falls as 1 / num_temperatures.
    assert fine.log_weights.var() < coarse.log_weights.var() / 3


def test_discrete_variables_are_summed_out():
    x = torch.tensor([0.1, 2.5], dtype=torch.float64)
    found = run(mixture, x, num_temperatures=4, num_chains=300, num_leapfrog=1, seed=0)
    parts = []
    for z in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        z = torch.tensor(z, dtype=torch.float64)
        joint = MultivariateNormal(2 * z, torch.eye(2, dtype=z.dtype) + 1.0)
        parts.append(joint.log_prob(x) + (z * math.log(0.3) + (1 - z) * math.log(0.7)).sum())
    assert (found.value - torch.stack(parts).logsumexp(0)).abs() < 4 * found.standard_error


def test_a_seed_gives_the_same_estimate():
    x, y = evidence.regression_data(2)
    first, second = (
        run(evidence.regression, x, y, num_temperatures=3, num_chains=4, num_leapfrog=1, seed=5) for _ in range(2)
    )
    assert torch.equal(first.log_weights, second.log_weights)
    assert torch.equal(first.samples["weights"], second.samples["weights"])


def test_the_captured_density_is_the_eager_one(monkeypatch):
    module = sys.modules["posterity.infer.annealed_importance_sampling"]
    monkeypatch.setattr(module, "capture", evidence.traced)
    x, y = evidence.regression_data(2)
    options = {"num_temperatures": 3, "num_chains": 4, "num_leapfrog": 1, "seed": 5, "progress": False}
    compiled, eager = (
        annealed_importance_sampling(evidence.regression, x, y, compile=flag, **options) for flag in (True, False)
    )
    torch.testing.assert_close(compiled.log_weights, eager.log_weights)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="num_temperatures must be a whole number >= 1, not 0"):
        run(mixture, torch.zeros(2), num_temperatures=0)
    with pytest.raises(ValueError, match="compile must be True, False or 'auto'"):
        annealed_importance_sampling(mixture, torch.zeros(2), compile="no")


def test_a_likelihood_that_is_nowhere_finite_is_an_error():
    def model():
        z = pt.sample("z", dist.Normal(0.0, 1.0))
        # Finite at the start, which is near zero, and at almost no draw from the prior.
        pt.factor("wall", torch.where(z.abs() < 1e-8, 0.0, -math.inf))

    with pytest.raises((FloatingPointError, ValueError)):
        run(model, num_chains=2, seed=0)
