"""Expectations by sums and quadrature, against closed forms."""

import math

import pytest
import torch

from posterity.distributions import Categorical, Independent, Laplace, Mixture, Normal
from posterity.distributions.expectation import expectation


def test_moments_of_the_line():
    p = Normal(torch.tensor([0.5, -2.0], dtype=torch.float64), torch.tensor([2.0, 0.1], dtype=torch.float64))
    torch.testing.assert_close(expectation(p, torch.ones_like), torch.ones(2).double(), rtol=1e-9, atol=0)
    torch.testing.assert_close(expectation(p, lambda x: x), p.mean, rtol=1e-9, atol=0)
    torch.testing.assert_close(expectation(p, torch.square), p.variance + p.mean**2, rtol=1e-9, atol=0)
    torch.testing.assert_close(expectation(p, torch.exp), (p.mean + p.variance / 2).exp(), rtol=1e-9, atol=0)


def test_a_kink_and_exponential_tails():
    p = Laplace(torch.tensor(1.0, dtype=torch.float64), 2.0)
    assert float(expectation(p, lambda x: (x - 1).abs() ** 3)) == pytest.approx(6 * 2**3, rel=1e-9)


def test_float32_keeps_its_stated_accuracy():
    assert float(expectation(Normal(0.0, 1.0), torch.abs)) == pytest.approx(math.sqrt(2 / math.pi), rel=2e-5)


def test_finite_supports_are_summed_exactly():
    p = Categorical(torch.tensor([[0.0, 0.5, 0.5], [0.25, 0.75, 0.0]]))
    # The excluded classes have an infinite value, which counts for nothing.
    values = torch.tensor([[math.inf, 2.0, 4.0], [1.0, 5.0, math.inf]])
    assert expectation(p, lambda k: values.gather(1, k.T).T).tolist() == [3.0, 4.0]


def test_mixtures_in_large_batches_are_evaluated_in_parts():
    loc = torch.linspace(-3, 3, 900, dtype=torch.float64)
    p = Mixture([Normal(loc, 1.0), Normal(loc + 4, 0.1)])
    torch.testing.assert_close(expectation(p, torch.square), p.variance + p.mean**2, rtol=1e-9, atol=0)


def test_an_integral_that_diverges_is_an_error():
    with pytest.raises(ArithmeticError, match="did not reach the relative accuracy"):
        expectation(Normal(0.0, 1.0), lambda x: (x.square() / 2).exp())


def test_vectors_are_refused():
    with pytest.raises(NotImplementedError, match=r"Independent with events of shape \(2,\) has neither"):
        expectation(Independent(Normal(torch.zeros(2), 1.0), 1), torch.abs)
