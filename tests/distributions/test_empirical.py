import math

import pytest
import torch

from posterity.distributions import Empirical, Normal, kl_divergence
from posterity.kernels import Key
from tests.statistical import assert_mean

POINTS = torch.tensor([3.0, 1.0, 3.0, 7.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.1, 0.2, 0.4, 0.3], dtype=torch.float64)


def test_equal_points_add_their_weights_up():
    d = Empirical(POINTS, WEIGHTS.log())
    torch.testing.assert_close(d.prob(torch.tensor([1.0, 3.0, 5.0])).tolist(), [0.2, 0.5, 0.0])
    torch.testing.assert_close(d.cdf(torch.tensor([0.0, 1.0, 3.0, 7.0])).tolist(), [0.0, 0.2, 0.7, 1.0])
    assert d.icdf(torch.tensor([0.0, 0.1, 0.5, 0.75, 1.0])).tolist() == [1.0, 1.0, 3.0, 7.0, 7.0]
    exact = -sum(mass * math.log(mass) for mass in (0.2, 0.5, 0.3))
    torch.testing.assert_close(float(d.entropy()), exact)
    assert float(d.mode) == 3
    torch.testing.assert_close(float(d.mean), 3.8)
    torch.testing.assert_close(float(d.variance), 0.2 * 2.8**2 + 0.5 * 0.8**2 + 0.3 * 3.2**2)


def test_draws_have_the_weights():
    d = Empirical(POINTS.expand(2, 4), WEIGHTS.log().expand(2, 4))
    draws = d.sample((5000,), generator=Key(0))
    assert draws.shape == (5000, 2)
    for point in (1.0, 3.0, 7.0):
        assert_mean((draws == point).double(), d.prob(torch.tensor(point)))


def test_events_of_vectors():
    d = Empirical(torch.arange(12.0).reshape(2, 3, 2), torch.zeros(2, 3))
    assert (d.batch_shape, d.event_shape) == ((2,), (2,))
    assert d.sample((5,)).shape == (5, 2, 2)
    torch.testing.assert_close(d.mean, torch.tensor([[2.0, 3.0], [8.0, 9.0]]))
    assert d.mode.shape == (2, 2)
    assert d.expand((4, 2)).log_prob(torch.tensor([0.0, 1.0])).shape == (4, 2)
    with pytest.raises(NotImplementedError, match="vectors have no order"):
        d.cdf(torch.zeros(2))


def test_the_kl_is_the_weighted_log_ratio():
    d, q = Empirical(POINTS, WEIGHTS.log()), Normal(torch.zeros((), dtype=torch.float64), 4.0)
    expected = -d.entropy() - (WEIGHTS * q.log_prob(POINTS)).sum()
    torch.testing.assert_close(kl_divergence(d, q), expected)


def test_fit_keeps_the_data_and_bad_input_is_named():
    torch.testing.assert_close(Empirical.fit(POINTS, WEIGHTS).mean, (POINTS * WEIGHTS).sum())
    with pytest.raises(TypeError, match="samples of Empirical"):
        Empirical([1.0])
    with pytest.raises(ValueError, match="must begin with the shape of log_weights"):
        Empirical(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="log_weights of Empirical"):
        Empirical(torch.zeros(3), torch.full((3,), torch.nan))
