import math

import torch

from posterity.infer.mcmc.dual_averaging import DualAveraging


def test_the_first_update_is_the_papers_formula():
    averaging = DualAveraging.start(torch.tensor([0.5], dtype=torch.float64)).update(torch.tensor([0.6]), 0.8)
    error = (0.8 - 0.6) / 11
    log_step = math.log(5.0) - error / 0.05
    torch.testing.assert_close(averaging.step_size, torch.tensor([math.exp(log_step)], dtype=torch.float64))
    torch.testing.assert_close(averaging.final(), averaging.step_size)


def test_steps_settle_where_the_acceptance_is_what_is_asked_for():
    averaging = DualAveraging.start(torch.tensor([1e-3, 30.0], dtype=torch.float64))
    for _ in range(2000):
        averaging = averaging.update((-averaging.step_size).exp(), 0.7)
    torch.testing.assert_close(averaging.final(), torch.full((2,), -math.log(0.7)).double(), rtol=0.02, atol=0)


def test_an_acceptance_that_is_no_number_counts_as_none():
    start = DualAveraging.start(torch.ones(2))
    none = start.update(torch.tensor([math.nan, 0.0]), 0.8).step_size
    assert none[0] == none[1]
