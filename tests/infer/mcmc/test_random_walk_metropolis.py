"""Random-walk Metropolis keeps its target, and is reversible."""

import math

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile, capture
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.metric import DenseMetric, Preconditioned
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis, gaussian_steps
from posterity.infer.mcmc.target import LogDensity
from posterity.kernels import Key
from tests.infer.mcmc.chain_checks import (
    NUM_CHAINS,
    Banana,
    assert_captured_is_eager,
    assert_chains_do_not_know_each_other,
    assert_law,
    assert_reversible,
    run,
)

BANANA = LogDensity(Banana.log_density, 2, batched=True)
KERNEL = RandomWalkMetropolis(log_density=Banana.log_density)


def sizes(*lengths, num_chains=NUM_CHAINS):
    """Step sizes, in turn."""
    return Tuning(torch.tensor(lengths, dtype=torch.float64).repeat(num_chains // len(lengths)))


def test_exact_draws_stay_exact_draws_whatever_the_step_sizes():
    before = Banana.draw(NUM_CHAINS)
    state, info = run(KERNEL, BANANA, before, sizes(0.3, 1.0, 2.0, 8.0), 3)[-1]
    Banana.assert_drawn(state.position)
    torch.testing.assert_close(state.log_density, Banana.log_density(state.position))
    assert (info.accept_prob[3::4].mean() < 0.1) & (info.accept_prob[::4].mean() > 0.7)


def test_exact_draws_stay_exact_draws_under_a_metric():
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64).expand(NUM_CHAINS, 2, 2)
    metric = DenseMetric(factor)
    before = metric.inverse(Banana.draw(NUM_CHAINS))
    state, _ = run(KERNEL, Preconditioned(BANANA, metric), before, sizes(1.0), 1)[-1]
    Banana.assert_drawn(metric.forward(state.position))


def test_there_and_back_are_as_frequent():
    before = Banana.draw(NUM_CHAINS)
    after = run(KERNEL, BANANA, before, sizes(2.0), 1)[-1][0].position
    assert_reversible(before[:, 0], after[:, 0])


def test_on_a_lattice_the_flows_there_and_back_are_equal():
    # The chain of steps to the left and right neighbours, on 8 points with these probabilities.
    weights = torch.tensor([0.05, 0.2, 0.1, 0.01, 0.3, 0.02, 0.3, 0.02], dtype=torch.float64)

    def log_density(z):
        place = z.squeeze(-1)
        outside = (place < 0) | (place > 7)
        return torch.where(outside, -math.inf, weights.log()[place.clamp(0, 7).long()])

    target, points = LogDensity(log_density, 1, batched=True), torch.arange(8.0, dtype=torch.float64).unsqueeze(-1)
    flows = []
    for direction in (1.0, -1.0):
        kernel = RandomWalkMetropolis(
            log_density=log_density, proposal=lambda keys, position, d=direction: torch.full_like(position, d)
        )
        info = run(kernel, target, points, sizes(1.0, num_chains=8), 1)[0][1]
        assert not info.is_divergent.any()
        flows.append(weights * info.accept_prob)
    right, left = flows
    torch.testing.assert_close(right[:-1], left[1:], rtol=1e-14, atol=0)
    assert right[-1] == left[0] == 0
    assert (right[:-1] > 0).all()


def test_a_proposal_of_ones_own_keeps_the_target_if_it_is_symmetric():
    def heavy(keys, position):  # Cauchy noise
        return gaussian_steps(keys, position) / gaussian_steps(keys.fold_in(1), position).abs()

    kernel = RandomWalkMetropolis(log_density=Banana.log_density, proposal=heavy)
    before = Banana.draw(NUM_CHAINS)
    after = run(kernel, BANANA, before, sizes(1.0), 1)[-1][0].position
    Banana.assert_drawn(after)
    assert not torch.equal(after, run(KERNEL, BANANA, before, sizes(1.0), 1)[-1][0].position)


def test_a_chain_alone_is_the_same_chain():
    assert_chains_do_not_know_each_other(KERNEL, BANANA, Banana.draw(64), sizes(1.0, num_chains=64))


def test_a_captured_step_is_the_eager_one():
    assert_captured_is_eager(KERNEL, BANANA, Banana.draw(4), sizes(1.0, num_chains=4))


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_a_compiled_step_is_the_eager_one():
    assert_captured_is_eager(KERNEL, BANANA, Banana.draw(4), sizes(1.0, num_chains=4), compiler=capture)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_where_the_density_is_no_number_is_never_gone(value):
    def log_density(z):
        return torch.where(z > 1, value, -0.5 * z.square()).squeeze(-1)

    kernel, target = RandomWalkMetropolis(log_density=log_density), LogDensity(log_density, 1, batched=True)
    position = torch.zeros(1000, 1, dtype=torch.float64)
    path = run(kernel, target, position, sizes(2.0, num_chains=1000), 5)
    assert all((state.position <= 1).all() for state, _ in path)
    divergent = torch.cat([info.is_divergent for _, info in path])
    assert 0 < divergent.sum() < 5000
    assert (torch.cat([info.accept_prob for _, info in path])[divergent] == 0).all()


def test_outside_of_the_support_is_a_rejection_and_no_divergence():
    def log_density(z):
        return torch.where(z > 1, -math.inf, -0.5 * z.square()).squeeze(-1)

    kernel, target = RandomWalkMetropolis(log_density=log_density), LogDensity(log_density, 1, batched=True)
    state, info = run(kernel, target, torch.zeros(1000, 1), sizes(2.0, num_chains=1000), 1)[0]
    assert (state.position <= 1).all()
    assert not info.is_divergent.any()
    assert state.position.dtype == state.log_density.dtype == torch.float32


def test_a_model_is_drawn_from_on_unconstrained_space():
    def model():
        pt.sample("scale", dist.Exponential(torch.ones((), dtype=torch.float64)))

    kernel = RandomWalkMetropolis(model)
    potential = kernel.potential((), {}, Key(0))
    exact = -torch.rand(NUM_CHAINS, 1, dtype=torch.float64).log()
    state, _ = run(kernel, potential, potential.unconstrain({"scale": exact.squeeze(-1)}), sizes(1.5), 1)[0]
    after = potential.constrain(state.position)["scale"]
    assert_law(after, stats.expon.cdf)
    assert not torch.equal(after, exact.squeeze(-1))


def test_a_proposal_of_another_shape_is_refused():
    with pytest.raises(TypeError, match="proposal must be callable, not a int"):
        RandomWalkMetropolis(log_density=Banana.log_density, proposal=3)
    for proposal, found in ((lambda k, p: p[0], r"of shape \(2,\)"), (lambda k, p: 1.0, "a float")):
        kernel = RandomWalkMetropolis(log_density=Banana.log_density, proposal=proposal)
        with pytest.raises(ValueError, match=rf"noise of the positions' shape \(4, 2\), .* but returned {found}"):
            run(kernel, BANANA, Banana.draw(4), sizes(1.0, num_chains=4), 1)
