"""Maximum likelihood with draws that count for nothing."""

import pytest
import torch

from posterity.distributions import GeneralizedExtremeValue


def test_a_weight_of_zero_is_as_if_the_draw_were_left_out():
    d = GeneralizedExtremeValue(torch.zeros((), dtype=torch.float64), 1.0, -0.3)
    x = d.sample((40,), generator=torch.Generator().manual_seed(0))
    # Beyond the end of the support that fits the others.
    weights = torch.ones(41, dtype=x.dtype)
    weights[-1] = 0
    left_out = GeneralizedExtremeValue.fit(x)
    weighed = GeneralizedExtremeValue.fit(torch.cat([x, x.new_tensor([60.0])]), weights)
    # At the maximum the slope is 0: what both searches leave is of second order.
    torch.testing.assert_close(weighed.log_prob(x).sum(), left_out.log_prob(x).sum(), rtol=1e-7, atol=1e-7)


def test_zero_weights_may_differ_within_a_batch():
    d = GeneralizedExtremeValue(torch.zeros(2, dtype=torch.float64), 1.0, -0.3)
    x = d.sample((40,), generator=torch.Generator().manual_seed(1))
    weights = torch.ones_like(x)
    x[0, 0] = x[5, 1] = 60.0
    weights[0, 0] = weights[5, 1] = 0
    both = GeneralizedExtremeValue.fit(x, weights)
    for i in range(2):
        alone = GeneralizedExtremeValue.fit(x[weights[:, i] > 0, i])
        # The search stops at a slope of 1e-9, and the curvature of the mean log likelihood is about 1.
        assert float(both.loc[i]) == pytest.approx(float(alone.loc), abs=1e-6)
