"""Densities over vectors and matrices integrate to 1: by importance sampling, with its standard error."""

import numpy as np
import pytest
import torch
from scipy import stats

from posterity.bijectors import bijector_to
from tests.distributions.catalogue import vectors
from tests.statistical import assert_mean

NUM_DRAWS = 20_000
LARGEST_ERROR = 0.02


@pytest.mark.parametrize("setting", [0, 1])
@pytest.mark.parametrize("entry", vectors.ENTRIES, ids=lambda e: e.family.__name__)
def test_the_density_integrates_to_one(entry, setting):
    d = entry.make(setting)
    onto = bijector_to(d.support)
    # A heavy-tailed proposal about the mass, in unconstrained space; only the sampler of d says where that is.
    seen = onto.inverse(d.sample((2000,), generator=torch.Generator().manual_seed(1)))
    rank = seen.dim() - 1
    flat = seen.reshape(2000, -1).numpy()
    center, shape = np.median(flat, 0), np.atleast_2d(np.cov(flat.T))
    proposal = stats.multivariate_t(center, 1.5 * shape, df=5, seed=np.random.default_rng(2))
    x = proposal.rvs(NUM_DRAWS).reshape(NUM_DRAWS, -1)
    points = torch.tensor(x).reshape(NUM_DRAWS, *seen.shape[1:])
    log_det = onto.forward_log_det_jacobian(points)
    y = onto.forward(points)
    assert rank >= 1
    weights = (d.log_prob(y) + log_det.reshape(NUM_DRAWS, -1).sum(-1) - torch.tensor(proposal.logpdf(x))).exp()
    assert float(weights.std()) / NUM_DRAWS**0.5 < LARGEST_ERROR
    assert_mean(weights, 1.0)
