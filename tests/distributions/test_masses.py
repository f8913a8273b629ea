"""Tables of masses: batches without elements and values that are no numbers."""

import torch

from posterity.distributions import BetaBinomial, Binomial


def test_a_batch_without_elements_has_statistics_without_elements():
    none = torch.ones(0)
    d = BetaBinomial(none, none, total_count=4)
    assert d.cdf(none).shape == d.icdf(none).shape == d.median.shape == (0,)
    assert Binomial(none, 0.5).entropy().shape == (0,)


def test_tails_at_nan_are_nan():
    d = BetaBinomial(1.0, 2.0, total_count=4)
    value = torch.tensor([torch.nan, 1.0])
    assert d.cdf(value).isnan().tolist() == [True, False]
    assert d.survival_function(value).isnan().tolist() == [True, False]


def test_entropies_of_different_counts_are_summed_each_on_its_own():
    counts = torch.tensor([0.0, 2.0, 7.0])
    each = torch.stack([Binomial(n, 0.3).entropy() for n in counts])
    torch.testing.assert_close(Binomial(counts, 0.3).entropy(), each)
