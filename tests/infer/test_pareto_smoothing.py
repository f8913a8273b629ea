"""The tail of importance weights is measured, and smoothed."""

import math

import arviz
import pytest
import torch

from posterity.infer import pareto_smooth
from posterity.infer.pareto_smoothing import fit_generalized_pareto


def generalized_pareto(shape, scale, number):
    levels = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    return scale * torch.expm1(-shape * torch.log1p(-levels)) / shape


@pytest.mark.parametrize("shape", [-0.3, 0.3, 0.7, 1.2])
def test_the_shape_of_a_pareto_tail_is_found(shape):
    number = 2000
    k, sigma = fit_generalized_pareto(generalized_pareto(shape, 2.0, number))
    # Standard errors of maximum likelihood are (1 + k) / sqrt(n) for the shape; quantiles stand closer than draws.
    assert abs(k - shape) < (1 + shape) / number**0.5 + 10 / number
    assert abs(math.log(sigma / 2.0)) < (2 * (1 + shape) / number) ** 0.5 + 10 / number


@pytest.mark.parametrize("number", [100, 1000, 5000])
def test_the_smoothed_weights_are_those_of_arviz(number):
    generator = torch.Generator().manual_seed(number)
    log_weights = 2 * torch.randn(number, generator=generator, dtype=torch.float64)
    smoothed = pareto_smooth(log_weights)
    expected, k = arviz.psislw(log_weights.numpy())
    torch.testing.assert_close(smoothed.log_weights, torch.from_numpy(expected.copy()), rtol=1e-6, atol=1e-6)
    assert abs(smoothed.pareto_k - float(k)) < 1e-6


def test_weights_sum_to_one_and_keep_their_order():
    log_weights = 3 * torch.randn(500, dtype=torch.float64) + 1000
    smoothed = pareto_smooth(log_weights).log_weights
    torch.testing.assert_close(smoothed.exp().sum(), torch.ones((), dtype=torch.float64))
    assert (smoothed[log_weights.argsort()].diff() >= 0).all()


def test_equal_weights_stay_equal():
    smoothed = pareto_smooth(torch.full((50,), -3.0))
    torch.testing.assert_close(smoothed.log_weights, torch.full((50,), -math.log(50)))
    assert smoothed.pareto_k == -math.inf


def test_draws_of_weight_zero_keep_it():
    log_weights = torch.cat([torch.randn(400), torch.full((100,), -math.inf)])
    smoothed = pareto_smooth(log_weights)
    assert (smoothed.log_weights[400:] == -math.inf).all()
    assert math.isfinite(smoothed.pareto_k)


def test_few_draws_have_no_tail():
    log_weights = torch.tensor([0.0, 1.0, 2.0])
    smoothed = pareto_smooth(log_weights)
    torch.testing.assert_close(smoothed.log_weights, log_weights.log_softmax(0))
    assert math.isnan(smoothed.pareto_k)


def test_what_are_no_weights_is_refused():
    with pytest.raises(ValueError, match=r"must be a vector, not of shape \(2, 2\)"):
        pareto_smooth(torch.zeros(2, 2))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="must be numbers or minus infinity"):
            pareto_smooth(torch.tensor([0.0, bad]))
    with pytest.raises(ValueError, match="not all minus infinity"):
        pareto_smooth(torch.full((3,), -math.inf))
