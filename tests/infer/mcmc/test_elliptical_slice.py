"""Elliptical slice sampling keeps its target, is reversible, and does what the sequential algorithm does."""

import math

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Potential
from posterity.infer.capture import can_compile, capture
from posterity.infer.mcmc.elliptical_slice import EllipticalSlice, NoTuning, shrinking_angles
from posterity.infer.mcmc.metric import DiagonalMetric, Preconditioned
from posterity.infer.mcmc.target import LogDensity
from posterity.kernels import Key, normal, uniform
from tests.infer.mcmc.chain_checks import (
    NUM_CHAINS,
    assert_captured_is_eager,
    assert_chains_do_not_know_each_other,
    assert_law,
    assert_reversible,
    keys_of,
    run,
)
from tests.statistical import assert_uncorrelated

LOC = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
FACTOR = torch.tensor([[2.0, 0.0, 0.0], [-1.0, 0.7, 0.0], [0.5, 0.5, 1.5]], dtype=torch.float64)
DATA, NOISE = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64), 0.5


def log_likelihood(z):
    return -0.5 * ((DATA - z) / NOISE).square().sum(-1)


TARGET = LogDensity(log_likelihood, 3, batched=True)


def kernel(**options):
    return EllipticalSlice(log_density=log_likelihood, prior=(LOC, FACTOR), **options)


def posterior():
    """Mean and Cholesky factor, by the normal equations."""
    precision = torch.linalg.inv(FACTOR @ FACTOR.mT)
    covariance = torch.linalg.inv(precision + torch.eye(3, dtype=torch.float64) / NOISE**2)
    return covariance @ (precision @ LOC + DATA / NOISE**2), torch.linalg.cholesky(covariance)


def exact(num_draws=NUM_CHAINS):
    loc, factor = posterior()
    noise = torch.randn(num_draws, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return loc + noise @ factor.mT


@pytest.mark.parametrize("max_proposals", [1, 2, 16])
def test_exact_draws_stay_exact_draws_however_early_the_search_ends(max_proposals):
    path = run(kernel(max_proposals=max_proposals), TARGET, exact(), NoTuning(), 3)
    state, info = path[-1]
    loc, factor = posterior()
    white = torch.linalg.solve_triangular(factor, (state.position - loc).mT, upper=False)
    for coordinate in white:
        assert_law(coordinate, stats.norm.cdf, comparisons=9)
    assert_uncorrelated(white[0], white[1])
    share = info.is_accepted.double().mean()
    assert {1: 0.1 < share < 0.6, 2: 0.2 < share < 0.8, 16: share > 0.99}[max_proposals]
    prior = torch.distributions.MultivariateNormal(LOC, scale_tril=FACTOR)
    torch.testing.assert_close(state.log_likelihood, log_likelihood(state.position))
    torch.testing.assert_close(state.log_density, prior.log_prob(state.position) + state.log_likelihood)


def test_there_and_back_are_as_frequent():
    before = exact()
    after = run(kernel(), TARGET, before, NoTuning(), 1)[-1][0].position
    assert_reversible(before[:, 0], after[:, 0])


def test_a_likelihood_of_zero_and_one_cuts_the_prior():
    def inside(z):
        return torch.where(z > 1, 0.0, -math.inf).squeeze(-1)

    prior = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    cut = EllipticalSlice(log_density=inside, prior=prior)
    tail = torch.rand(NUM_CHAINS, 1, dtype=torch.float64) * stats.norm.sf(1.0)
    before = -torch.special.ndtri(tail)
    after = run(cut, LogDensity(inside, 1, batched=True), before, NoTuning(), 2)[-1][0].position
    assert_law(after.squeeze(-1), stats.truncnorm(1, math.inf).cdf)
    assert_reversible(before.squeeze(-1), after.squeeze(-1))


def test_the_point_is_the_one_that_the_sequential_algorithm_takes():
    slicing, num_chains = kernel(), 50
    position = exact(num_chains)
    keys = keys_of(num_chains, 0)
    state, info = slicing.step(TARGET, slicing.init(TARGET, position), NoTuning(), keys)
    noise = normal((3,), source=keys.at(0), dtype=torch.float64) @ FACTOR.mT
    chance = uniform((17,), source=keys.at(1), dtype=torch.float64)
    for i in range(num_chains):
        level = log_likelihood(position[i]) + chance[i, 0].log()
        angle = float(2 * math.pi * chance[i, 1])
        low, high, shrinks = angle - 2 * math.pi, angle, 0
        while True:
            point = (position[i] - LOC) * math.cos(angle) + noise[i] * math.sin(angle) + LOC
            if log_likelihood(point) > level:
                break
            low, high = (angle, high) if angle < 0 else (low, angle)
            shrinks += 1
            angle = low + (high - low) * float(chance[i, 1 + shrinks])
        torch.testing.assert_close(state.position[i], point)
        assert info.num_shrinks[i] == shrinks
    assert info.num_shrinks.max() > 4
    assert (info.num_steps == 16).all()


def test_brackets_shrink_towards_the_current_point():
    chance = torch.rand(1000, 12, dtype=torch.float64)
    angles = shrinking_angles(chance)
    for k in range(1, 12):
        tried = angles[:, :k]
        low = torch.where(tried < 0, tried, -math.inf).amax(-1).maximum(angles[:, 0] - 2 * math.pi)
        high = torch.where(tried >= 0, tried, math.inf).amin(-1)
        torch.testing.assert_close(angles[:, k], low + (high - low) * chance[:, k])


def test_a_chain_alone_is_the_same_chain():
    assert_chains_do_not_know_each_other(kernel(), TARGET, exact(64), NoTuning())


def test_a_captured_step_is_the_eager_one():
    assert_captured_is_eager(kernel(), TARGET, exact(4), NoTuning())


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_a_compiled_step_is_the_eager_one():
    assert_captured_is_eager(kernel(), TARGET, exact(4), NoTuning(), compiler=capture)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_where_the_likelihood_is_no_number_is_never_gone(value):
    def strange(z):
        return torch.where(z > 1, value, -z.abs()).squeeze(-1)

    slicing = EllipticalSlice(log_density=strange, prior=(torch.zeros(1), torch.ones(1)))
    for state, info in run(slicing, LogDensity(strange, 1, batched=True), torch.zeros(500, 1), NoTuning(), 5):
        assert (state.position <= 1).all()
        assert state.log_density.isfinite().all()
        assert info.num_shrinks.max() > 0
        assert state.position.dtype == torch.float32


def test_nothing_is_tuned():
    adaptation = kernel().adaptation(TARGET, exact(2), 100, keys_of(2, 0))
    assert (adaptation.metric, adaptation.tuning) == (None, NoTuning())


def test_a_model_is_split_into_its_prior_and_the_rest():
    def model(x):
        loc = pt.sample("loc", dist.Normal(LOC[0], 2.0))
        with pt.plate("data", len(x)):
            pt.sample("x", dist.Normal(loc, NOISE), obs=x)

    x = torch.tensor([3.0, 4.0], dtype=torch.float64)
    slicing = EllipticalSlice(model)
    potential = slicing.potential((x,), {}, Key(0))
    precision = 1 / 4 + 2 / NOISE**2
    loc, scale = (1.0 / 4 + x.sum() / NOISE**2) / precision, precision**-0.5
    before = loc + scale * torch.randn(NUM_CHAINS, 1, dtype=torch.float64)
    state, _ = run(slicing, potential, before, NoTuning(), 2)[-1]
    assert_law(state.position.squeeze(-1), stats.norm(loc, scale).cdf)
    torch.testing.assert_close(state.log_density, potential.log_density(state.position))
    assert_captured_is_eager(slicing, potential, before[:3], NoTuning())


def test_what_is_no_pair_of_log_density_and_prior_is_refused():
    with pytest.raises(TypeError, match=r"give prior=\(loc, scale\) with log_density"):
        EllipticalSlice(log_density=log_likelihood)
    with pytest.raises(TypeError, match=r"give prior=\(loc, scale\) with log_density"):
        EllipticalSlice(lambda: None, prior=(LOC, FACTOR))
    with pytest.raises(TypeError, match="give either a model or a log_density"):
        EllipticalSlice()
    with pytest.raises(ValueError, match="max_proposals must be a whole number of at least 1, not 0"):
        kernel(max_proposals=0)
    with pytest.raises(TypeError, match="prior must be two tensors"):
        EllipticalSlice(log_density=log_likelihood, prior=(LOC, 1.0))
    with pytest.raises(ValueError, match=r"mean has shape \(3,\) and its scale \(2,\)"):
        EllipticalSlice(log_density=log_likelihood, prior=(LOC, torch.ones(2)))
    for scale in (FACTOR.mT, -FACTOR, torch.tensor([1.0, 0.0, 1.0]), torch.full((3,), math.inf)):
        with pytest.raises(ValueError, match="lower triangular factor with a positive diagonal"):
            EllipticalSlice(log_density=log_likelihood, prior=(LOC, scale))


def test_targets_whose_prior_is_not_the_kernels_are_refused():
    with pytest.raises(ValueError, match=r"target has 2 dimensions, but the prior's mean has shape \(3,\)"):
        kernel().init(LogDensity(log_likelihood, 2), torch.zeros(1, 2))
    whitened = Preconditioned(TARGET, DiagonalMetric(torch.ones(1, 3)))
    with pytest.raises(TypeError, match="not one under a metric"):
        kernel().init(whitened, torch.zeros(1, 3))

    def model():
        pt.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(TypeError, match="must be made by the kernel's `potential`, not a Potential"):
        EllipticalSlice(model).init(Potential(model), torch.zeros(1, 1))
