"""The effective size of chains whose autocorrelations can be summed by hand."""

import math

import torch

from posterity.infer.diagnostics.geyer import effective_size


def test_correlations_are_summed_in_positive_pairs_that_do_not_increase():
    chain = torch.tensor([[[3.0, 1.0, 2.0, 0.0, 2.0, -1.0, -2.0, -1.0, -1.0, -3.0]]], dtype=torch.float64)
    number = chain.numel()
    covariance = [float((chain[..., : number - lag] * chain[..., lag:]).sum()) / number for lag in range(number)]
    # One chain of mean 0: rho_t = 1 - (W - gamma_t) / gamma_0 with W = gamma_0 n / (n - 1), and 1 at lag 0.
    rho = [1.0] + [1 - (covariance[0] * number / (number - 1) - c) / covariance[0] for c in covariance[1:]]
    pairs = [rho[2 * k] + rho[2 * k + 1] for k in range(number // 2)]
    assert pairs[0] > pairs[1] > 0 > pairs[2]  # the sequence ends at lag 4, which does not count
    assert rho[4] < 0
    time = 2 * (pairs[0] + pairs[1]) - 1
    torch.testing.assert_close(effective_size(chain).item(), 1 / time, rtol=1e-12, atol=0)


def test_chains_that_alternate_reach_the_largest_size():
    chain = torch.tensor([1.0, -1.0]).repeat(1, 2, 50)
    torch.testing.assert_close(effective_size(chain).item(), math.log10(200))


def test_chains_without_variance_count_each_draw():
    assert effective_size(torch.ones(1, 2, 10)) == 1


def test_chains_that_stand_still_at_different_places_are_hardly_one_draw_each():
    chains = torch.arange(4.0, dtype=torch.float64).reshape(1, 4, 1).expand(1, 4, 100)
    # Correlations are all 1: lags 0 to 95 count in pairs, and of the last pair the even lag alone.
    torch.testing.assert_close(effective_size(chains).item(), 1 / (2 * 96 + 1 - 1), rtol=1e-9, atol=0)
