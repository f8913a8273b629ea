"""ChEES keeps its target, and its chains tune what serves them all."""

import math

import pytest
import torch
from scipy import stats

from posterity.infer.mcmc.chees import ChEES, van_der_corput
from posterity.infer.mcmc.chees_adaptation import ChEESTuning, LengthAscent
from posterity.infer.mcmc.metric import DenseMetric, Preconditioned
from posterity.infer.mcmc.target import LogDensity
from tests.infer.mcmc.chain_checks import (
    NUM_CHAINS,
    Banana,
    assert_chains_do_not_know_each_other,
    assert_reversible,
    keys_of,
    run,
)
from tests.infer.mcmc.warm_chains import assert_moments, scaled_normal, warmed_up
from tests.statistical import quantile

BANANA = LogDensity(Banana.log_density, 2, batched=True)
KERNEL = ChEES(log_density=Banana.log_density)


def tuned(step_size, length, num_chains=NUM_CHAINS):
    sizes = torch.tensor([step_size, length], dtype=torch.float64)
    return ChEESTuning(*sizes.unsqueeze(1).expand(2, num_chains))


def test_the_sequence_mirrors_binary_digits():
    # 6 is 110 in binary: 0.011
    found = van_der_corput(torch.tensor([0, 1, 2, 3, 6, 2**31 - 1]))
    expected = [0, 0.5, 0.25, 0.75, 0.375, 1 - 2.0**-31]
    assert found.tolist() == expected
    assert sorted(van_der_corput(torch.arange(64)).tolist()) == [i / 64 for i in range(64)]


@pytest.mark.parametrize(("step_size", "length"), [(0.9, 4.0), (1.6, 1.0)])
def test_exact_draws_stay_exact_draws_whatever_the_tuning(step_size, length):
    state, info = run(KERNEL, BANANA, Banana.draw(NUM_CHAINS), tuned(step_size, length), 3)[-1]
    Banana.assert_drawn(state.position)
    density, gradient = BANANA.value_and_grad(state.position)
    torch.testing.assert_close(state.log_density, density)
    torch.testing.assert_close(state.gradient, gradient)
    assert 0.1 < info.accept_prob.mean() < 0.85


def test_exact_draws_stay_exact_draws_under_a_metric():
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64).expand(NUM_CHAINS, 2, 2)
    metric = DenseMetric(factor)
    before = metric.inverse(Banana.draw(NUM_CHAINS))
    state, _ = run(KERNEL, Preconditioned(BANANA, metric), before, tuned(0.6, 4.0), 1)[-1]
    Banana.assert_drawn(metric.forward(state.position))


def test_there_and_back_are_as_frequent():
    before = Banana.draw(NUM_CHAINS)
    after = run(KERNEL, BANANA, before, tuned(0.9, 4.0), 1)[-1][0].position
    assert_reversible(before[:, 0], after[:, 0])


def test_all_chains_take_the_steps_that_the_sequence_says():
    path = run(KERNEL, BANANA, Banana.draw(8), tuned(1 / 64, 5 / 8, 8), 3)
    assert [info.num_steps.tolist() for _, info in path] == [[20] * 8, [10] * 8, [30] * 8]
    kernel = ChEES(log_density=Banana.log_density, max_num_steps=7)
    assert run(kernel, BANANA, Banana.draw(8), tuned(1 / 64, 5 / 8, 8), 1)[0][1].num_steps.tolist() == [7] * 8


def test_a_chain_alone_is_the_same_chain():
    assert_chains_do_not_know_each_other(KERNEL, BANANA, Banana.draw(64), tuned(0.5, 3.0, 64))


def test_the_criterion_grows_as_its_slope_says():
    # With steps so small that everything is accepted: central differences in the logarithm of the length, the mean of
    # the ends held.
    start, length, delta = Banana.draw(50), 2.0, 1e-3
    keys = keys_of(50, 0)

    def end(factor):
        tuning = tuned(length * factor / 1000, length * factor, 50)
        state = KERNEL.init(BANANA, start)
        trajectory = KERNEL.begin(state, tuning, keys)
        for _ in range(int(trajectory.planned.max())):
            trajectory = KERNEL.leapfrog(BANANA, trajectory, tuning)
        return trajectory.edge.position, KERNEL.end(trajectory, tuning, keys)[1]

    middle, info = end(1.0)
    assert (info.accept_prob > 0.9999).all()
    slope = info.criterion_gradient.mean()
    spread = (start - start.mean(0)).square().sum(-1)
    values = [
        0.25 * ((end(factor)[0] - middle.mean(0)).square().sum(-1) - spread).square().mean()
        for factor in (math.exp(-delta), math.exp(delta))
    ]
    # The weights by acceptance probabilities differ from 1 by 1e-4.
    torch.testing.assert_close((values[1] - values[0]) / (2 * delta), slope, rtol=1e-3, atol=1e-3)


def test_the_length_climbs_to_a_maximum():
    ascent = LengthAscent.start(torch.tensor(0.1))
    for _ in range(600):
        ascent = ascent.update(math.log(2.0) - ascent.log_length)
    # Updates are of size 0.025 at most at the end.
    assert abs(ascent.log_length_average.exp() - 2.0) < 0.1
    same = ascent.update(torch.tensor(torch.nan))
    assert same.log_length == ascent.log_length


@pytest.fixture(scope="module")
def warm():
    target, position = scaled_normal(num_chains=128)
    return warmed_up(ChEES(log_density=target.log_density), target, position, 250, 60)


def test_badly_scaled_normals_have_their_moments_after_the_warm_up(warm):
    assert_moments(warm.draws)


def test_the_chains_share_what_they_learn(warm):
    scale = scaled_normal.scale
    # The metric is exact for independent normals, up to rounding.
    torch.testing.assert_close(warm.adaptation.metric.scale, scale.expand(128, -1), rtol=1e-6, atol=0)
    for part in warm.adaptation.tuning:
        assert (part == part[0]).all()
    # For unit normals the criterion is 1 / 2 - sin(2 T) / (4 T): no trajectory passes its first maximum, at 2.25, by so
    # much as the next minimum, at pi.
    assert 1 < warm.adaptation.tuning.trajectory_length[0] < math.pi


def test_the_harmonic_mean_of_acceptance_is_near_what_is_asked_for(warm):
    harmonic = torch.tensor([1 / (1 / info.accept_prob).mean() for info in warm.infos])
    # The mean of the logarithms of step sizes is not the step size of the mean acceptance.
    assert 0.5 < harmonic.mean() < 0.85


def test_a_saved_warm_up_goes_on_to_the_same_tuning():
    target, position = scaled_normal(num_chains=8)
    kernel = ChEES(log_density=target.log_density)
    keys = keys_of(8, 0)
    first, second = (kernel.adaptation(target, position, 40, keys) for _ in range(2))
    state = kernel.init(Preconditioned(target, first.metric), position)
    for transition in range(40):
        state, info = kernel.step(Preconditioned(target, first.metric), state, first.tuning, keys.fold_in(transition))
        if transition == 13:
            second.load_state_dict(first.state_dict())
        metric = first.metric
        changed = first.update(state, info)
        if transition >= 13:
            assert second.update(state, info) == changed
        if changed:
            point = metric.forward(state.position)
            state = kernel.init(Preconditioned(target, first.metric), first.metric.inverse(point))
    for ours, theirs in zip((*first.tuning, *first.metric), (*second.tuning, *second.metric), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_where_the_density_is_no_number_is_never_gone(value):
    def log_density(z):
        return torch.where(z > 1, value, -0.5 * z.square()).squeeze(-1)

    kernel, target = ChEES(log_density=log_density), LogDensity(log_density, 1, batched=True)
    for state, info in run(kernel, target, torch.zeros(1000, 1), tuned(0.5, 3.0, 1000), 5):
        assert (state.position <= 1).all()
        assert state.gradient.isfinite().all()
        assert state.position.dtype == torch.float32
        assert 0 < info.is_divergent.sum() < 1000
        assert (info.accept_prob[info.is_divergent] == 0).all()
        assert info.criterion_gradient.isfinite().all()


def test_half_the_normal_is_drawn_where_the_other_half_is_no_number():
    def log_density(z):
        return torch.where(z > 0, -0.5 * z.square(), math.nan).squeeze(-1)

    kernel, target = ChEES(log_density=log_density), LogDensity(log_density, 1, batched=True)
    start = torch.randn(NUM_CHAINS, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).abs()
    state, _ = run(kernel, target, start, tuned(0.5, 2.0), 3)[-1]
    p = stats.kstest(state.position.squeeze(-1).numpy(), stats.halfnorm.cdf).pvalue
    assert p > 2 * stats.norm.sf(quantile())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": -1.0}, "step_size must be a positive number, not -1.0"),
        ({"target_accept": 1.0}, "target_accept must be between 0 and 1, not 1.0"),
        ({"metric": "full"}, "metric must be 'diagonal', 'dense', 'low_rank' or None, not 'full'"),
        ({"max_num_steps": 0}, "max_num_steps must be a whole number of at least 1, not 0"),
        ({"max_num_steps": True}, "max_num_steps must be a whole number of at least 1, not True"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ChEES(log_density=Banana.log_density, **options)


def test_one_chain_cannot_be_compared():
    with pytest.raises(ValueError, match="there is 1; give num_chains of at least 2"):
        KERNEL.adaptation(BANANA, Banana.draw(1), 100, keys_of(1, 0))
