"""MALA keeps its target, and is reversible."""

import math

import pytest
import torch
from scipy import stats

from posterity.infer.capture import can_compile, capture
from posterity.infer.mcmc import mala
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.mala import MALA
from posterity.infer.mcmc.metric import DenseMetric, Preconditioned
from posterity.infer.mcmc.target import LogDensity
from tests.infer.mcmc.chain_checks import (
    NUM_CHAINS,
    Banana,
    assert_captured_is_eager,
    assert_chains_do_not_know_each_other,
    assert_reversible,
    keys_of,
    run,
)

BANANA = LogDensity(Banana.log_density, 2, batched=True)
KERNEL = MALA(log_density=Banana.log_density)


def sizes(*lengths, num_chains=NUM_CHAINS):
    """Step sizes, in turn."""
    return Tuning(torch.tensor(lengths, dtype=torch.float64).repeat(num_chains // len(lengths)))


def test_exact_draws_stay_exact_draws_whatever_the_step_sizes():
    state, info = run(KERNEL, BANANA, Banana.draw(NUM_CHAINS), sizes(0.3, 0.8, 1.2, 3.0), 3)[-1]
    Banana.assert_drawn(state.position)
    density, gradient = BANANA.value_and_grad(state.position)
    torch.testing.assert_close(state.log_density, density)
    torch.testing.assert_close(state.gradient, gradient)
    assert (info.accept_prob[3::4].mean() < 0.2) & (info.accept_prob[::4].mean() > 0.9)


def test_exact_draws_stay_exact_draws_under_a_metric():
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64).expand(NUM_CHAINS, 2, 2)
    metric = DenseMetric(factor)
    before = metric.inverse(Banana.draw(NUM_CHAINS))
    state, _ = run(KERNEL, Preconditioned(BANANA, metric), before, sizes(1.0), 1)[-1]
    Banana.assert_drawn(metric.forward(state.position))


def test_there_and_back_are_as_frequent():
    before = Banana.draw(NUM_CHAINS)
    after = run(KERNEL, BANANA, before, sizes(1.2), 1)[-1][0].position
    assert_reversible(before[:, 0], after[:, 0])


def test_on_a_grid_the_flows_there_and_back_are_equal(monkeypatch):
    # Of the Gumbel distribution: pi(x) q(x, y) a(x, y) for all pairs, q by scipy and a as the kernel says.
    points, step_size = torch.linspace(-1.5, 4.0, 23, dtype=torch.float64), 1.3
    x, y = (grid.flatten() for grid in torch.meshgrid(points, points, indexing="ij"))
    drift = x + 0.5 * step_size**2 * (-1 + (-x).exp())
    noise = ((y - drift) / step_size).unsqueeze(-1)
    monkeypatch.setattr(mala, "normal", lambda *args, **kwargs: noise)
    gumbel = LogDensity(lambda z: (-z - (-z).exp()).squeeze(-1), 1, batched=True)
    state, info = run(KERNEL, gumbel, x.unsqueeze(-1), sizes(step_size, num_chains=len(x)), 1)[0]
    torch.testing.assert_close(state.position.squeeze(-1), torch.where(info.is_accepted, y, x))
    proposal = torch.from_numpy(stats.norm.pdf(y, drift, step_size))
    flow = (torch.from_numpy(stats.gumbel_r.pdf(x)) * proposal * info.accept_prob).reshape(23, 23)
    # Rounding in a log ratio of up to 1000 is 1000 times the unit roundoff.
    torch.testing.assert_close(flow, flow.mT, rtol=1e-11, atol=0)
    assert 0.1 < (info.accept_prob < 1).double().mean() < 0.9


def test_a_chain_alone_is_the_same_chain():
    assert_chains_do_not_know_each_other(KERNEL, BANANA, Banana.draw(64), sizes(0.8, num_chains=64))


def test_a_captured_step_is_the_eager_one():
    assert_captured_is_eager(KERNEL, BANANA, Banana.draw(4), sizes(0.8, num_chains=4))


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_a_compiled_step_is_the_eager_one():
    assert_captured_is_eager(KERNEL, BANANA, Banana.draw(4), sizes(0.8, num_chains=4), compiler=capture)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_where_the_density_is_no_number_is_never_gone(value):
    def log_density(z):
        return torch.where(z > 1, value, -0.5 * z.square()).squeeze(-1)

    kernel, target = MALA(log_density=log_density), LogDensity(log_density, 1, batched=True)
    path = run(kernel, target, torch.zeros(1000, 1), sizes(1.5, num_chains=1000), 5)
    for state, info in path:
        assert (state.position <= 1).all()
        assert state.gradient.isfinite().all()
        assert state.position.dtype == torch.float32
        assert 0 < info.is_divergent.sum() < 1000
        assert (info.accept_prob[info.is_divergent] == 0).all()


def test_a_gradient_that_is_no_number_is_a_divergence():
    def log_density(z):  # finite at 0 itself, where the gradient of the root is not
        return -z.abs().sqrt().squeeze(-1)

    kernel, target = MALA(log_density=log_density), LogDensity(log_density, 1, batched=True)
    state = kernel.init(target, torch.zeros(3, 1))
    assert state.gradient.isnan().all()
    after, info = kernel.step(target, state, sizes(0.5, num_chains=3), keys_of(3, 0))
    assert info.is_divergent.all()
    assert torch.equal(after.position, state.position)
