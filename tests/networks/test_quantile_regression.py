"""Quantile regression."""

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity.networks import QuantileRegressor
from tests.statistical import quantile


def skewed(num, seed):
    """Exponential noise, whose scale depends on the input."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(num, 1, generator=generator) - 1
    noise = -torch.log1p(-torch.rand(num, generator=generator))
    return x, 50 + 10 * (torch.sin(3 * x[:, 0]) + (0.5 + 0.4 * x[:, 0]) * noise)


def body(width=16):
    return nn.Sequential(nn.Linear(1, width), nn.Tanh())


def test_quantiles_hold_what_they_say_on_new_data():
    train, test = 3000, 2000
    net = QuantileRegressor(body(), 16, quantiles=(0.05, 0.5, 0.95))
    net.fit(*skewed(train, seed=0), num_epochs=100, lr=1e-2, batch_size=300, seed=0)
    x, y = skewed(test, seed=1)
    found = net.predict_quantiles(x)
    for i, level in enumerate(net.quantiles):
        below = (y < found[:, i]).double().mean().item()
        # The new data's binomial error, and that of the data that the quantile was fitted to.
        error = (level * (1 - level) * (1 / test + 1 / train)) ** 0.5
        assert abs(below - level) < quantile(4) * error
    error = (0.9 * 0.1 * (1 / test + 1 / train)) ** 0.5
    assert abs(net.interval_coverage(x, y, 0.9).item() - 0.9) < quantile(4) * error
    # Skewed: the quantiles of the noise are 0.05, 0.69 and 3.00, the upper half is 3.6 times as long.
    lower, middle, upper = found.mean(0)
    assert upper - middle > 2 * (middle - lower)


def test_quantiles_never_cross():
    net = QuantileRegressor(nn.Linear(3, 8), 8, 2, quantiles=[i / 20 for i in range(1, 20)])
    q = net(1000 * torch.randn(50, 3))
    assert q.shape == (50, 2, 19)
    assert (q.diff(dim=-1) >= 0).all()


def test_the_first_guess_is_a_normal_distribution_of_the_targets():
    net = QuantileRegressor(nn.Linear(3, 8), 8, quantiles=(0.1, 0.5, 0.8))
    nn.init.zeros_(net.head.weight)
    expected = dist.Normal(0.0, 1.0).icdf(torch.tensor([0.1, 0.5, 0.8]))
    torch.testing.assert_close(net(torch.randn(1, 3))[0], expected, atol=1e-6, rtol=1e-5)


def test_the_pinball_loss_of_the_median_is_half_the_absolute_error():
    net = QuantileRegressor(nn.Linear(3, 4), 4, 2, quantiles=(0.5,))
    x, y = torch.randn(7, 3), torch.randn(7, 2)
    torch.testing.assert_close(net.loss(x, y), 0.5 * (net(x).squeeze(-1) - y).abs().sum(-1).mean())


def test_prediction_is_without_dropout_and_leaves_the_mode():
    net = QuantileRegressor(nn.Sequential(nn.Linear(3, 4), nn.Dropout()), 4)
    x = torch.randn(5, 3)
    assert torch.equal(net.predict_quantiles(x), net.predict_quantiles(x))
    assert net.training
    assert net.predict_quantiles(x, (0.5,)).shape == (5, 1)


@pytest.mark.parametrize("levels", [(), (0.5, 0.5), (0.9, 0.1), (0.0, 0.5), (0.5, 1.0)])
def test_levels_that_do_not_rise_within_0_and_1_are_refused(levels):
    with pytest.raises(ValueError, match=r"quantiles must be rising levels in \(0, 1\)"):
        QuantileRegressor(nn.Linear(3, 4), 4, quantiles=levels)


def test_levels_that_were_not_trained_are_refused():
    net = QuantileRegressor(nn.Linear(3, 4), 4, quantiles=(0.1, 0.9))
    with pytest.raises(ValueError, match=r"the level 0.025 was not trained; there are \(0.1, 0.9\)"):
        net.predict_interval(torch.randn(2, 3), 0.95)
    with pytest.raises(ValueError, match=r"coverage must be in \(0, 1\)"):
        net.predict_interval(torch.randn(2, 3), 1.0)


def test_random_weights_have_no_bound():
    net = pt.bayesianize(QuantileRegressor(nn.Linear(3, 4), 4))
    with pytest.raises(ValueError, match="the pinball loss is no likelihood"):
        net.fit(torch.randn(20, 3), torch.randn(20))
