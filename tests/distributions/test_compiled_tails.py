"""Tails keep their digits in compiled graphs, where Inductor takes `expm1` for a subtraction from `exp`."""

import pytest
import torch

from posterity.distributions import Geometric, Pareto


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_small_probabilities_keep_their_digits_when_compiled():
    def probabilities(x):
        return Pareto(1.0, x).cdf(1 + 2.0**-20), Geometric(probs=x).cdf(0.0)

    torch.compiler.reset()
    x = torch.logspace(-12, -5, 15, dtype=torch.float64)
    compiled = torch.compile(probabilities, fullgraph=True)(x)
    for value, eager in zip(compiled, probabilities(x), strict=True):
        torch.testing.assert_close(value, eager, rtol=1e-13, atol=0)
