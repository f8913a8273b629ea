"""Divergences between the half-normal distribution and its neighbours are the integrals of their definition."""

import pytest
import torch

from posterity.distributions import Exponential, HalfNormal, Normal, kl_divergence
from posterity.distributions.expectation import expectation

HALF, WAITING, WHOLE = (
    HalfNormal(torch.tensor(1.5).double()),
    Exponential(torch.tensor(0.75).double()),
    Normal(torch.tensor(0.5).double(), 2.0),
)


@pytest.mark.parametrize(
    ("p", "q"), [(HALF, WAITING), (HALF, WHOLE), (WAITING, HALF), (WAITING, WHOLE)], ids=lambda d: type(d).__name__
)
def test_divergences_are_integrals(p, q):
    integral = expectation(p, lambda x: p.log_prob(x) - q.log_prob(x), others=(q,))
    torch.testing.assert_close(kl_divergence(p, q), integral, rtol=1e-9, atol=1e-9)
