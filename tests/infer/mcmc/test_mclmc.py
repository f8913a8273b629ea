"""Adjusted MCLMC keeps its target; without adjustment its bias falls with the square of the step."""

import math

import pytest
import torch
from scipy import stats

from posterity.infer.mcmc.mclmc import MCLMC
from posterity.infer.mcmc.mclmc_adaptation import MCLMCTuning
from posterity.infer.mcmc.metric import DenseMetric, Preconditioned
from posterity.infer.mcmc.target import LogDensity
from tests.infer.mcmc.chain_checks import (
    NUM_CHAINS,
    Banana,
    assert_captured_is_eager,
    assert_chains_do_not_know_each_other,
    assert_law,
    assert_reversible,
    keys_of,
    run,
)
from tests.infer.mcmc.warm_chains import assert_moments, scaled_normal, warmed_up
from tests.statistical import FALSE_ALARM, assert_mean, quantile

BANANA = LogDensity(Banana.log_density, 2, batched=True)
ADJUSTED = MCLMC(log_density=Banana.log_density, adjusted=True)
UNADJUSTED = MCLMC(log_density=Banana.log_density)


def tuned(step_size, length, num_chains=NUM_CHAINS):
    sizes = torch.tensor([step_size, length], dtype=torch.float64)
    return MCLMCTuning(*sizes.unsqueeze(1).expand(2, num_chains))


class Normal:
    """Independent unit normals."""

    def __init__(self, dim):
        self.dim = dim

    def log_density(self, z):
        return -0.5 * z.square().sum(-1)

    def value_and_grad(self, z):
        return self.log_density(z), -z

    def draw(self, num_draws):
        return torch.randn(num_draws, self.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("integrator", ["leapfrog", "minimal_norm"])
@pytest.mark.parametrize(("step_size", "length"), [(1.2, 4.0), (2.0, 2.0)])
def test_adjusted_exact_draws_stay_exact_draws_whatever_the_tuning(integrator, step_size, length):
    kernel = MCLMC(log_density=Banana.log_density, adjusted=True, integrator=integrator)
    state, info = run(kernel, BANANA, Banana.draw(NUM_CHAINS), tuned(step_size, length), 3)[-1]
    Banana.assert_drawn(state.position)
    density, gradient = BANANA.value_and_grad(state.position)
    torch.testing.assert_close(state.log_density, density)
    torch.testing.assert_close(state.gradient, gradient)
    assert 0.1 < info.accept_prob.mean() < 0.9


@pytest.mark.parametrize(("integrator", "step_size"), [("leapfrog", 6.0), ("minimal_norm", 14.0)])
def test_adjusted_norms_of_normal_draws_keep_their_law(integrator, step_size):
    target = Normal(20)
    kernel = MCLMC(log_density=target.log_density, adjusted=True, integrator=integrator)
    state, info = run(kernel, target, target.draw(NUM_CHAINS), tuned(step_size, step_size), 3)[-1]
    assert_law(state.position.square().sum(-1), stats.chi2(20).cdf)
    assert 0.1 < info.accept_prob.mean() < 0.9


def test_adjusted_exact_draws_stay_exact_draws_under_a_metric():
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64).expand(NUM_CHAINS, 2, 2)
    metric = DenseMetric(factor)
    before = metric.inverse(Banana.draw(NUM_CHAINS))
    state, _ = run(ADJUSTED, Preconditioned(BANANA, metric), before, tuned(0.8, 3.0), 1)[-1]
    Banana.assert_drawn(metric.forward(state.position))


def test_adjusted_there_and_back_are_as_frequent():
    before = Banana.draw(NUM_CHAINS)
    after = run(ADJUSTED, BANANA, before, tuned(1.2, 4.0), 1)[-1][0].position
    assert_reversible(before[:, 0], after[:, 0])


def test_the_number_of_steps_is_uniform_and_no_more_than_allowed():
    _, info = run(ADJUSTED, BANANA, Banana.draw(NUM_CHAINS), tuned(1 / 16, 0.25), 1)[0]
    counts = torch.bincount(info.num_steps // 2, minlength=9)  # two gradients a step
    assert counts[0] == 0
    assert stats.chisquare(counts[1:].numpy()).pvalue > FALSE_ALARM
    short = MCLMC(log_density=Banana.log_density, adjusted=True, max_num_steps=3, integrator="leapfrog")
    _, info = run(short, BANANA, Banana.draw(100), tuned(1 / 16, 0.25, 100), 1)[0]
    assert info.num_steps.max() == 3


def test_the_unadjusted_bias_falls_with_the_square_of_the_step():
    # Of the mean square of unit normals in three dimensions, from exact draws until the bias has settled.
    target, bias, error = Normal(3), [], []
    for step_size in (1.6, 0.8):
        kernel = MCLMC(log_density=target.log_density, integrator="leapfrog")
        path = run(kernel, target, target.draw(40000), tuned(step_size, 3.0, 40000), int(24 / step_size))
        square = torch.stack([state.position.square().mean(-1) for state, _ in path[-4:]]).mean(0) - 1
        bias.append(square.mean())
        error.append(square.std() / len(square) ** 0.5)
    ratio = bias[0] / bias[1]
    spread = ratio * ((error[0] / bias[0]) ** 2 + (error[1] / bias[1]) ** 2).sqrt()
    # Half the step leaves a quarter of the bias; terms of fourth order may make a fifth's difference.
    assert abs(ratio - 4) < 0.8 + quantile() * spread, (bias, error)
    assert abs(bias[1]) > quantile() * error[1]


def test_a_direction_is_forgotten_over_the_length():
    # Where nothing pulls, u . u' is exp(-time / length) on the mean, in many dimensions.
    dim, step_size, length = 4000, 0.5, 3.0
    flat = LogDensity(lambda z: 0 * z.sum(-1), dim, batched=True)
    kernel = MCLMC(log_density=flat.log_density)
    path = run(kernel, flat, torch.zeros(50, dim, dtype=torch.float64), tuned(step_size, length, 50), 9)
    first = path[0][0].momentum
    for number in (1, 4, 8):
        cosine = (first * path[number][0].momentum).sum(-1)
        # A normalisation leaves a relative bias of the order of 1 / dim, far below the standard error.
        assert_mean(cosine / math.exp(-number * step_size / length), 1.0)
    # First directions are uniform: coordinates have mean 0 and mean square 1 / dim.
    assert_mean(first.flatten() * dim**0.5, 0.0)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(50, dtype=torch.float64))


def test_without_noise_the_energy_is_kept():
    # A length beyond all measure: the sum of energy changes is the error of the integrator at one time, not a sum of
    # errors; for second order it is bounded by the square of the step.
    target = Normal(10)
    kernel = MCLMC(log_density=target.log_density)
    largest = []
    for step_size in (0.4, 0.2):
        path = run(kernel, target, target.draw(100), tuned(step_size, 1e30, 100), int(40 / step_size))
        largest.append(torch.stack([info.energy_change for _, info in path]).cumsum(0).abs().max())
    assert largest[0] < 0.1
    assert largest[1] < largest[0] / 3


@pytest.mark.parametrize("kernel", [ADJUSTED, UNADJUSTED])
def test_a_chain_alone_is_the_same_chain(kernel):
    assert_chains_do_not_know_each_other(kernel, BANANA, Banana.draw(64), tuned(0.4, 2.0, 64))


def test_a_captured_unadjusted_step_is_the_eager_one():
    assert UNADJUSTED.is_capturable
    assert not ADJUSTED.is_capturable
    assert_captured_is_eager(UNADJUSTED, BANANA, Banana.draw(4), tuned(0.4, 2.0, 4))


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_where_the_density_is_no_number_is_never_gone(value, adjusted):
    def log_density(z):
        return torch.where(z[..., 0] > 1, value, -0.5 * z.square().sum(-1))

    kernel, target = MCLMC(log_density=log_density, adjusted=adjusted), LogDensity(log_density, 2, batched=True)
    stuck = 0
    for state, info in run(kernel, target, torch.zeros(1000, 2), tuned(0.8, 4.0, 1000), 5):
        assert (state.position[:, 0] <= 1).all()
        assert state.gradient.isfinite().all()
        assert state.momentum.isfinite().all()
        assert state.position.dtype == state.momentum.dtype == torch.float32
        assert (info.accept_prob[info.is_divergent] == 0).all()
        assert not info.is_accepted[info.is_divergent].any()
        stuck += int(info.is_divergent.sum())
    assert 0 < stuck < 5000


def test_adjusted_chains_have_the_moments_of_a_badly_scaled_normal_after_the_warm_up():
    target, position = scaled_normal(num_chains=64)
    kernel = MCLMC(log_density=target.log_density, adjusted=True)
    warm = warmed_up(kernel, target, position, 200, 50)
    assert_moments(warm.draws)
    accepted = torch.stack([info.accept_prob for info in warm.infos]).mean()
    assert 0.8 < accepted < 0.98


def test_unadjusted_chains_have_nearly_the_moments_of_a_badly_scaled_normal_after_the_warm_up():
    target, position = scaled_normal(num_chains=64)
    warm = warmed_up(MCLMC(log_density=target.log_density), target, position, 400, 150)
    # Mean squares have a bias of about 2% at the default variance of the energy.
    assert_moments(warm.draws, bias=0.04)
    changes = torch.stack([info.energy_change for info in warm.infos])
    variance = changes.square().mean() / 50
    assert 5e-4 / 2 < variance < 5e-4 * 2
    scale = scaled_normal.scale.expand(64, -1)
    # The metric is exact for independent normals, up to rounding.
    torch.testing.assert_close(warm.adaptation.metric.scale, scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("adjusted", [False, True])
def test_each_chain_tunes_itself_and_goes_on_from_a_saved_warm_up(adjusted):
    target, position = scaled_normal(num_chains=4)
    kernel = MCLMC(log_density=target.log_density, adjusted=adjusted)
    keys = keys_of(4, 0)
    many, again = (kernel.adaptation(target, position, 100, keys) for _ in range(2))
    one = kernel.adaptation(target, position[:1], 100, keys)
    state = kernel.init(Preconditioned(target, many.metric), position)
    for transition in range(100):
        state, info = kernel.step(Preconditioned(target, many.metric), state, many.tuning, keys.fold_in(transition))
        if transition == 70:
            again.load_state_dict(many.state_dict())
        metric = many.metric
        changed = many.update(state, info)
        assert one.update(type(state)(*(x[:1] for x in state)), type(info)(*(x[:1] for x in info))) == changed
        if transition >= 70:
            assert again.update(state, info) == changed
        if changed:
            point = metric.forward(state.position)
            state = kernel.init(Preconditioned(target, many.metric), many.metric.inverse(point))
    for adaptation in (many, again, one):
        adaptation.finish()
    whole, resumed, alone = ((*x.tuning, *x.metric) for x in (many, again, one))
    for a, b, c in zip(whole, resumed, alone, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a[:1], c, rtol=1e-8, atol=0)


def test_without_a_metric_the_length_alone_is_learnt():
    target = Normal(20)
    wide = LogDensity(lambda z: target.log_density(z / 5), 20, batched=True)
    kernel = MCLMC(log_density=wide.log_density, metric=None)
    adaptation = kernel.adaptation(wide, 5 * target.draw(16), 400, keys_of(16, 0))
    state = kernel.init(wide, 5 * target.draw(16))
    for transition in range(400):
        state, info = kernel.step(wide, state, adaptation.tuning, keys_of(16, transition))
        assert not adaptation.update(state, info)
    adaptation.finish()
    assert (adaptation.metric.scale == 1).all()
    # The root of the sum of the variances is 5 sqrt(20); autocorrelations change it by a factor of four at most.
    assert ((adaptation.tuning.length > 5) & (adaptation.tuning.length < 100)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"integrator": "euler"}, "integrator must be 'minimal_norm' or 'leapfrog', not 'euler'"),
        ({"metric": "full"}, "metric must be 'diagonal', 'dense', 'low_rank' or None, not 'full'"),
        ({"target_accept": 0.0}, "target_accept must be between 0 and 1, not 0.0"),
        ({"energy_variance": 0.0}, "energy_variance must be a positive number, not 0.0"),
        ({"max_num_steps": 0.5}, "max_num_steps must be a whole number of at least 1, not 0.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MCLMC(log_density=Banana.log_density, **options)


def test_one_dimension_has_no_directions():
    target = LogDensity(lambda z: -0.5 * z.square().sum(), 1)
    with pytest.raises(ValueError, match="at least 2 dimensions, but the target has 1; use NUTS"):
        MCLMC(log_density=target.log_density).init(target, torch.zeros(3, 1))


def test_only_adjusted_chains_have_a_step_of_three_graphs():
    state = UNADJUSTED.init(BANANA, Banana.draw(2))
    with pytest.raises(TypeError, match="adjusted=True; a step without adjustment can be captured whole"):
        UNADJUSTED.compiled(BANANA, None, state, tuned(0.4, 2.0, 2), keys_of(2, 0))
