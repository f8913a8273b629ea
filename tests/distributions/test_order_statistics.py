"""Quantiles of weighted data are those of repeated data."""

import torch

from posterity.distributions.order_statistics import weighted_quantile


def test_weights_count_repetitions():
    data = torch.tensor([[3.0, -1.0], [1.0, 5.0], [2.0, 0.0]])
    counts = torch.tensor([2, 1, 3])
    repeated = data.repeat_interleave(counts, dim=0)
    for level in (0.1, 0.25, 0.5, 0.9):
        ordered = repeated.sort(0).values
        expected = ordered[int(torch.ceil(torch.tensor(level * 6))) - 1]
        assert torch.equal(weighted_quantile(data, (counts / 6)[:, None], level), expected)
