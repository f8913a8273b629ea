"""Masked autoregressive flows in training: a learning rate that is too high costs accuracy, not the whole run."""

import pytest
import torch
from torch.distributions import Independent, Normal

from posterity.bijectors import MAF
from posterity.distributions import MultivariateStudentT


@pytest.mark.parametrize("seed", [1, 3])
def test_training_on_heavy_tails_at_a_high_learning_rate_does_not_diverge(seed):
    torch.manual_seed(seed)
    truth = MultivariateStudentT(2.0, torch.zeros(4), torch.eye(4))
    flow, base = MAF(4), Independent(Normal(torch.zeros(4), 1.0), 1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss = -flow(base).log_prob(truth.sample((256,))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Scales between exp(-5) and exp(5) in each of the five layers let it rise to 10^4 and more.
    assert max(losses[50:]) < 100
    # No density has a mean loss below the entropy of the truth.
    assert sum(losses[-50:]) / 50 < truth.entropy() + 2
