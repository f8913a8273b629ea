import math

import pytest
import torch

from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.target import LogDensity
from tests.infer.mcmc.chain_checks import Banana, assert_chains_do_not_know_each_other, assert_reversible, run

BANANA = LogDensity(Banana.log_density, 2, batched=True)


def kernel_of(**options):
    return HMC(log_density=lambda z: -0.5 * (z * z).sum(-1), **options)


def tuning_of(num_chains, step_size):
    return Tuning(torch.full((num_chains,), step_size, dtype=torch.float64))


@pytest.mark.parametrize("options", [{"num_steps": 3, "jitter": 0.0}, {"trajectory_length": 2.0}])
def test_exact_draws_stay_exact_and_as_many_move_back_as_forth(options):
    start = Banana.draw(20000)
    [(state, info)] = run(kernel_of(**options), BANANA, start, tuning_of(len(start), 0.8), 1)
    Banana.assert_drawn(state.position)
    assert_reversible(start[:, 0], state.position[:, 0])
    assert 0.05 < info.accept_prob.mean() < 0.98


def test_the_length_decides_the_number_of_steps():
    target = LogDensity(lambda z: -0.5 * (z * z).sum(-1), 1, batched=True)
    tuning = Tuning(torch.tensor([0.1, 0.3, 1e-6, 50.0], dtype=torch.float64))
    kernel = kernel_of(trajectory_length=1.0, jitter=0.0, max_num_steps=40)
    [(_, info)] = run(kernel, target, torch.zeros(4, 1, dtype=torch.float64), tuning, 1)
    assert info.num_steps.tolist() == [10, 4, 40, 1]


def test_a_quarter_of_a_period_exchanges_position_and_momentum():
    # Then the new position is the momentum that was drawn: independent of the old one.
    target = LogDensity(lambda z: -0.5 * (z * z).sum(-1), 1, batched=True)
    start = torch.full((4000, 1), 2.0, dtype=torch.float64)
    kernel = kernel_of(trajectory_length=math.pi / 2, jitter=0.0)
    [(state, info)] = run(kernel, target, start, tuning_of(4000, math.pi / 2 / 64), 1)
    assert (info.accept_prob > 0.99).all()
    # Standard error of the mean 1 / sqrt(4000), at a false-alarm rate of 1e-6; the integrator's error is below 1e-3.
    assert abs(state.position.mean()) < 4.9 / 4000**0.5 + 1e-3


def test_chains_do_not_know_each_other():
    assert_chains_do_not_know_each_other(kernel_of(), BANANA, Banana.draw(64), tuning_of(64, 0.3))


def test_a_divergence_is_rejected():
    start = Banana.draw(500)
    [(state, info)] = run(kernel_of(num_steps=5), BANANA, start, tuning_of(500, 60.0), 1)
    assert info.is_divergent.any()
    assert (state.position == start)[info.is_divergent].all()
    assert (info.accept_prob[info.is_divergent] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trajectory_length": 0.0}, "trajectory_length must be a positive number"),
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1"),
        ({"max_num_steps": 2.5}, "max_num_steps must be a whole number"),
        ({"jitter": 1.0}, "jitter must be at least 0 and less than 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kernel_of(**options)


def test_a_trajectory_has_one_length():
    with pytest.raises(TypeError, match="not both"):
        kernel_of(trajectory_length=1.0, num_steps=3)
