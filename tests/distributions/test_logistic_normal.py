"""What is particular to the logistic normal distribution: torch's convention, and moments by integrals."""

import pytest
import torch

from posterity.distributions import LogisticNormal, Normal


def test_densities_are_torchs():
    loc, scale = torch.randn(2, 4, 3, dtype=torch.float64)
    x = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64)).sample((5, 1))
    ours = LogisticNormal(loc, scale.exp())
    torch.testing.assert_close(
        ours.log_prob(x), torch.distributions.LogisticNormal(loc, scale.exp(), validate_args=False).log_prob(x)
    )
    assert (ours.batch_shape, ours.event_shape) == ((4,), (4,))


def test_numbers_make_one_break():
    d = LogisticNormal(0.0, 1.0)
    assert (d.batch_shape, d.event_shape) == ((), (2,))
    assert LogisticNormal(torch.zeros(3), 1.0).scale.tolist() == [1.0] * 3
    torch.testing.assert_close(d.mean, torch.tensor([0.5, 0.5]))


def test_moments_stay_accurate_from_narrow_to_wide():
    # Of a share that is nearly always 0 or 1, the variance nears that of a coin.
    d = LogisticNormal(torch.zeros(3, 1, dtype=torch.float64), torch.tensor([[1e-3], [1.0], [1e6]]).double())
    torch.testing.assert_close(d.mean, torch.full((3, 2), 0.5, dtype=torch.float64), rtol=1e-9, atol=0)
    assert float(d.variance[0, 0]) == pytest.approx(1e-6 / 16, rel=1e-4)
    assert float(d.variance[2, 0]) == pytest.approx(0.25, rel=1e-5)


def test_kl_is_that_of_the_normal_numbers():
    p, q = LogisticNormal(torch.zeros(2), torch.ones(2)), LogisticNormal(torch.ones(2), 2 * torch.ones(2))
    exact = Normal(torch.zeros(2), 1.0).kl_divergence(Normal(torch.ones(2), 2.0)).sum()
    torch.testing.assert_close(p.kl_divergence(q), exact)


def test_zeros_cannot_be_fitted():
    with pytest.raises(ValueError, match="data of LogisticNormal.fit must be positive, but hold zeros"):
        LogisticNormal.fit(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
