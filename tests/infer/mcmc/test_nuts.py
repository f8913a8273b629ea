import math

import pytest
import torch

from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.target import LogDensity
from posterity.infer.mcmc.trajectory import MOMENTUM
from posterity.kernels import normal
from tests.infer.mcmc.chain_checks import (
    Banana,
    assert_chains_do_not_know_each_other,
    assert_reversible,
    keys_of,
    run,
)


def kernel_of(**options):
    return NUTS(log_density=lambda z: -0.5 * (z * z).sum(-1), **options)


def normal_target(dim):
    return LogDensity(lambda z: -0.5 * (z * z).sum(-1), dim, batched=True)


def tuning_of(num_chains, step_size):
    return Tuning(torch.full((num_chains,), step_size, dtype=torch.float64))


BANANA = LogDensity(Banana.log_density, 2, batched=True)


@pytest.mark.parametrize("step_size", [0.05, 0.9])
def test_exact_draws_stay_exact_and_as_many_move_back_as_forth(step_size):
    start = Banana.draw(6000)
    kernel = kernel_of(max_tree_depth=4)
    [(state, info)] = run(kernel, BANANA, start, tuning_of(len(start), step_size), 1)
    Banana.assert_drawn(state.position)
    assert_reversible(start[:, 0], state.position[:, 0])
    assert len(info.num_steps.unique()) > 3


def test_a_step_that_is_far_too_large_keeps_the_target_by_staying():
    start = Banana.draw(2000)
    [(state, info)] = run(kernel_of(), BANANA, start, tuning_of(len(start), 60.0), 1)
    Banana.assert_drawn(state.position)
    assert info.is_divergent.double().mean() > 0.5
    stayed = (state.position == start).all(-1)
    assert stayed[info.is_divergent & (info.num_steps == 1)].all()


def test_the_trajectory_of_a_normal_law_ends_after_about_half_a_period():
    # In many dimensions the directions of a trajectory's ends part after pi; it can only double until then.
    position = torch.randn(20, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    [(_, info)] = run(kernel_of(), normal_target(2000), position, tuning_of(20, 0.15), 1)
    length = (info.num_steps + 1) * 0.15
    assert (length > 0.8 * math.pi).all()
    assert (length < 2.2 * math.pi).all()


def test_a_tree_has_at_most_its_depth():
    [(_, info)] = run(kernel_of(max_tree_depth=3), normal_target(2), torch.zeros(7, 2), tuning_of(7, 1e-3), 1)
    assert info.num_steps.tolist() == [7] * 7
    assert info.tree_depth.tolist() == [3] * 7


def test_the_acceptance_is_the_mean_over_the_trajectory():
    # One doubling: one leapfrog, so the mean is that of its energy error.
    position = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    keys = keys_of(1, 0)
    kernel, target = kernel_of(max_tree_depth=1), normal_target(2)
    _, info = kernel.step(target, kernel.init(target, position), tuning_of(1, 1.1), keys)
    momentum = normal((2,), source=keys.at(MOMENTUM), dtype=torch.float64)
    energies = []
    for direction in (1.1, -1.1):
        half = momentum - 0.5 * direction * position
        end = position + direction * half
        energies.append(0.5 * ((half - 0.5 * direction * end).square() + end.square()).sum())
    start = 0.5 * (momentum.square() + position.square()).sum()
    expected = [min(1.0, math.exp(start - e)) for e in energies]
    assert min(abs(info.accept_prob.item() - e) for e in expected) < 1e-12
    assert info.energy.item() == pytest.approx(start.item(), abs=1e-12)


def test_chains_do_not_know_each_other():
    start = Banana.draw(64)
    assert_chains_do_not_know_each_other(kernel_of(), BANANA, start, tuning_of(64, 0.3))


def test_a_log_density_that_is_not_a_number_is_a_divergence():
    target = LogDensity(lambda z: (1 - z.square()).log().sum(-1), 1, batched=True)
    position = torch.full((20, 1), 0.5, dtype=torch.float64)
    [(state, info)] = run(kernel_of(), target, position, tuning_of(20, 3.0), 1)
    assert info.is_divergent.any()
    assert state.log_density.isfinite().all()


def test_positions_keep_their_type():
    [(state, info)] = run(kernel_of(), normal_target(3), torch.zeros(5, 3), tuning_of(5, 0.5), 1)
    assert state.position.dtype == torch.float32
    assert info.accept_prob.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tree_depth": 0}, "max_tree_depth must be a whole number from 1 to 30"),
        ({"max_tree_depth": True}, "max_tree_depth must be a whole number"),
        ({"target_accept": 1.0}, "target_accept must be between 0 and 1"),
        ({"step_size": 0.0}, "step_size must be a positive number"),
        ({"step_size": math.inf}, "step_size must be a positive number"),
        ({"metric": "full"}, "metric must be 'diagonal', 'dense', 'low_rank' or None"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kernel_of(**options)


def test_a_kernel_needs_one_target():
    with pytest.raises(TypeError, match="give either a model or a log_density"):
        NUTS()
    with pytest.raises(TypeError, match="give either a model or a log_density"):
        NUTS(print, log_density=print)
    with pytest.raises(TypeError, match="model must be callable, not a int"):
        NUTS(3)
