"""Importance sampling with a guide estimates the evidence, and says how well."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

import posterity as pt
from posterity import distributions as dist
from posterity.infer import AutoNormal, log_evidence
from posterity.infer.log_evidence import evidence_of
from tests.infer import evidence
from tests.statistical import quantile

X, Y = evidence.regression_data(8)


def guide_of(width):
    loc, covariance = evidence.regression_posterior(X, Y)

    def guide(x, y):
        pt.sample("weights", dist.MultivariateNormal(loc, width * covariance))

    return guide


def test_the_exact_posterior_gives_the_evidence_at_every_draw():
    found = log_evidence(evidence.regression, guide_of(1.0), X, Y, num_samples=20, seed=0)
    exact = evidence.regression_evidence(X, Y)
    torch.testing.assert_close(found.log_weights, exact.expand(20))
    torch.testing.assert_close(found.value, exact)
    assert found.standard_error < 1e-9
    torch.testing.assert_close(found.effective_sample_size, torch.tensor(20.0, dtype=torch.float64))


def test_a_wide_guide_gives_the_evidence_within_its_error():
    found = log_evidence(evidence.regression, guide_of(1.5), X, Y, num_samples=4000, num_at_once=1500, seed=0)
    assert found.log_weights.shape == (4000,)
    assert 0 < found.standard_error < 0.05
    assert (found.value - evidence.regression_evidence(X, Y)).abs() < quantile() * found.standard_error
    # Weights of a guide that is wider than the posterior are bounded.
    assert found.pareto_k < 0.7


def test_the_standard_error_is_that_of_repeated_estimates():
    runs = [log_evidence(evidence.regression, guide_of(1.5), X, Y, num_samples=400, seed=i) for i in range(60)]
    values, errors = (torch.stack(part) for part in zip(*((r.value, r.standard_error) for r in runs), strict=True))
    # A standard deviation over 60 runs is known to a relative error of 1 / sqrt(2 * 59), and the errors vary too.
    assert (values.std() / errors.mean()).log().abs() < quantile() * (2 * 59) ** -0.5


def test_a_hierarchical_model():
    def guide(y):
        # The prior for the spread, and what follows from it exactly for all else.
        spread = pt.sample("spread", dist.HalfNormal(y.new_ones(())))
        width = 1 + spread.square()
        precision = 1 / 4 + len(y) / width
        loc = pt.sample("loc", dist.Normal(y.sum() / width / precision, precision**-0.5))
        with pt.plate("groups", len(y)):
            part = spread.square() / width
            pt.sample("mean", dist.Normal(part * y + (1 - part) * loc, part.sqrt()))

    found = log_evidence(evidence.groups, guide, evidence.GROUPS, num_samples=4000, seed=1)
    exact = evidence.groups_evidence(evidence.GROUPS)
    assert found.standard_error < 0.02
    assert (found.value - exact).abs() < 4 * found.standard_error


def test_a_guide_that_is_not_set_up_sets_itself_up():
    found = log_evidence(evidence.regression, AutoNormal(evidence.regression), X, Y, num_samples=3, seed=0)
    assert found.log_weights.shape == (3,)


def test_each_element_of_a_plate_has_its_own_evidence():
    y = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)

    def model():
        with pt.plate("data", 3):
            z = pt.sample("z", dist.Normal(y.new_zeros(2), 1.0).to_event(1))
            pt.sample("y", dist.Normal(z.sum(-1), 1.0), obs=y)

    def guide():
        with pt.plate("data", 3):
            pt.sample("z", dist.Normal(y.new_zeros(2), 1.0).to_event(1))

    found = log_evidence(model, guide, num_samples=4000, plate="data", seed=0)
    exact = torch.distributions.Normal(0.0, 3**0.5).log_prob(y)
    assert ((found.value - exact).abs() < quantile(3) * found.standard_error).all()
    assert found.pareto_k.shape == found.effective_sample_size.shape == (3,)
    whole = log_evidence(model, guide, num_samples=4000, seed=0)
    torch.testing.assert_close(whole.log_weights, found.log_weights.sum(-1))


def mixture(x):
    loc = pt.sample("loc", dist.Normal(x.new_zeros(()), 1.0))
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Bernoulli(x.new_tensor(0.3)), infer={"enumerate": "parallel"})
        pt.sample("x", dist.Normal(loc + 2 * z, 1.0), obs=x)


def test_discrete_variables_are_summed_out():
    x = torch.tensor([0.1, 2.5], dtype=torch.float64)

    def guide(x):
        pt.sample("loc", dist.Normal(x.new_zeros(()), 1.0))

    found = log_evidence(mixture, guide, x, num_samples=4000, seed=0)
    parts = []
    for z in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        z = torch.tensor(z, dtype=torch.float64)
        joint = MultivariateNormal(2 * z, torch.eye(2, dtype=z.dtype) + 1.0)
        parts.append(joint.log_prob(x) + (z * math.log(0.3) + (1 - z) * math.log(0.7)).sum())
    assert (found.value - torch.stack(parts).logsumexp(0)).abs() < quantile() * found.standard_error
    with pytest.raises(ValueError, match="without enumerated variables"):
        log_evidence(mixture, guide, x, plate="data")


def test_a_seed_gives_the_same_estimate():
    first, second = (log_evidence(evidence.regression, guide_of(2.0), X, Y, num_samples=10, seed=3) for _ in range(2))
    assert torch.equal(first.log_weights, second.log_weights)


def test_the_logarithm_of_the_mean_weight_has_the_error_of_the_delta_method():
    weights = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    found = evidence_of(weights.log())
    torch.testing.assert_close(found.value, weights.mean().log())
    torch.testing.assert_close(found.standard_error, weights.std() / 3**0.5 / weights.mean())
    torch.testing.assert_close(found.effective_sample_size, weights.sum() ** 2 / weights.square().sum())


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(FloatingPointError, match="1 of 2 logarithms"):
        evidence_of(torch.tensor([0.0, math.nan]))
    with pytest.raises(FloatingPointError, match="2 of 2 logarithms"):
        evidence_of(torch.tensor([-math.inf, -math.inf]))
    assert evidence_of(torch.tensor([0.0, -math.inf])).value == -math.log(2)


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match="num_samples must be a whole number"):
        log_evidence(evidence.regression, guide_of(1.0), X, Y, num_samples=0)
    with pytest.raises(ValueError, match="lacks: 'weights'"):
        log_evidence(evidence.regression, lambda x, y: None, X, Y)
    with pytest.raises(ValueError, match="site 'weights' stands outside of plate 'data'"):
        log_evidence(evidence.regression, guide_of(1.0), X, Y, plate="data")

    def part():
        with pt.plate("data", 4, subsample_size=2):
            pt.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="plate 'data' takes 2 of its 4 elements"):
        log_evidence(part, part)
