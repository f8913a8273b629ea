"""The Metropolis rule, and the tuning that its kernels share."""

import math

import pytest
import torch

from posterity.infer.mcmc.mala import MALA
from posterity.infer.mcmc.metropolis import accept
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis
from posterity.infer.mcmc.target import LogDensity
from tests.infer.mcmc.chain_checks import keys_of
from tests.statistical import assert_mean

both = pytest.mark.parametrize("kind", [RandomWalkMetropolis, MALA])


def standard(z):
    return -0.5 * z.square().sum(-1)


def test_a_proposal_is_taken_as_often_as_the_ratio_says():
    ratio = torch.tensor([0.3, 0.9], dtype=torch.float64).repeat_interleave(20000)
    info = accept(ratio.log(), torch.zeros(40000, dtype=torch.bool), keys_of(40000, 0))
    torch.testing.assert_close(info.accept_prob, ratio)
    assert_mean(info.is_accepted.reshape(2, -1).T, torch.tensor([0.3, 0.9], dtype=torch.float64))


def test_uphill_is_always_taken_and_divergent_never():
    ratio = torch.tensor([0.0, 5.0, math.inf, -math.inf, math.nan, 3.0])
    info = accept(ratio, torch.tensor([False, False, False, False, True, True]), keys_of(6, 0))
    assert info.accept_prob.tolist() == [1, 1, 1, 0, 0, 0]
    assert info.is_accepted.tolist() == [True, True, True, False, False, False]
    assert info.num_steps.tolist() == [1] * 6


@both
def test_the_first_step_size_is_the_one_given_or_the_kernels_own(kind):
    target, position = LogDensity(standard, 9, batched=True), torch.zeros(3, 9)
    for options, expected in (
        ({"step_size": 0.3}, 0.3),
        ({"adapt_step_size": False}, 2.38 / 3 if kind is RandomWalkMetropolis else 1.65 * 9 ** (-1 / 6)),
    ):
        adaptation = kind(log_density=standard, **options).adaptation(target, position, 100, keys_of(3, 0))
        torch.testing.assert_close(adaptation.tuning.step_size, torch.full((3,), expected, dtype=torch.float64))


@both
def test_the_step_size_is_tuned_towards_the_acceptance_that_is_asked_for(kind):
    target, position = LogDensity(standard, 2, batched=True), torch.zeros(3, 2)
    adaptation = kind(log_density=standard, metric=None).adaptation(target, position, 100, keys_of(3, 0))
    before = adaptation.tuning.step_size
    for _ in range(20):
        info = accept(torch.full((3,), -math.inf), torch.zeros(3, dtype=torch.bool), keys_of(3, 0))
        adaptation.update(kind(log_density=standard).init(target, position), info)
    assert (adaptation.tuning.step_size < before).all()


@both
def test_what_a_kernel_is_made_of_is_checked(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__}: give either a model or a log_density"):
        kind()
    with pytest.raises(ValueError, match=rf"{kind.__name__}: step_size must be a positive number, not -1"):
        kind(log_density=standard, step_size=-1)
    with pytest.raises(ValueError, match=rf"{kind.__name__}: target_accept must be between 0 and 1, not 1.0"):
        kind(log_density=standard, target_accept=1.0)
    with pytest.raises(ValueError, match=rf"{kind.__name__}: metric must be .* not 'full'"):
        kind(log_density=standard, metric="full")
