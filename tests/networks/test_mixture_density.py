"""Mixture density networks."""

import math

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity.networks import MixtureDensityNetwork
from tests.statistical import quantile

NOISE = 0.05


def inverted_sine(num, seed):
    """Bishop's problem: t from x = t + 0.3 sin(2 pi t) + noise, which several t may have made."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.rand(num, generator=generator)
    x = t + 0.3 * torch.sin(2 * math.pi * t) + NOISE * torch.randn(num, generator=generator)
    return x.unsqueeze(-1), t


def true_log_density(x, t):
    """log p(t | x) by Bayes' theorem, the normaliser over t in [0, 1] by the midpoint rule."""

    def likelihood(t):
        return dist.Normal(t + 0.3 * torch.sin(2 * math.pi * t), NOISE).log_prob(x)

    grid = (torch.arange(4000, dtype=x.dtype) + 0.5) / 4000
    return likelihood(t.unsqueeze(-1)).squeeze(-1) - (likelihood(grid).logsumexp(-1) - math.log(4000))


def body(width=12):
    return nn.Sequential(nn.Linear(1, width), nn.Tanh())


def test_a_known_bimodal_conditional_is_recovered():
    num = 4000
    net = MixtureDensityNetwork(body(20), 20, num_components=4)
    net.fit(*inverted_sine(num, seed=0), num_epochs=120, lr=2e-2, batch_size=400, seed=0)
    x, t = inverted_sine(4000, seed=1)
    with torch.no_grad():
        excess = true_log_density(x, t) - net(x).log_prob(t)
    # Of the fit: Wilks, as for the heteroscedastic network. Of the evaluation: its own standard error.
    free = sum(p.numel() for p in net.parameters())
    fit_error = (free + 4.75 * math.sqrt(2 * free)) / (2 * 0.9 * num)
    assert excess.mean() < fit_error + quantile() * excess.std() / len(excess) ** 0.5
    # A single normal cannot: at x = 1/2 three t are possible.
    with torch.no_grad():
        d = net(torch.tensor([[0.5]]))
    density = d.prob(torch.tensor([[0.21], [0.33], [0.5], [0.67], [0.79]])).squeeze()
    assert density[0] > 2 * density[1]
    assert 2 * density[1] < density[2] > 2 * density[3]
    assert density[4] > 2 * density[3]


@pytest.mark.parametrize("family", ["normal", "student_t", "laplace"])
@pytest.mark.parametrize("out_features", [None, 1, 2])
def test_a_bayesian_one_is_trained_by_the_bound_and_asked_by_predict(family, out_features):
    net = pt.bayesianize(MixtureDensityNetwork(nn.Linear(3, 4), 4, out_features, num_components=2, family=family))
    shape = (9,) if out_features is None else (9, out_features)
    x, y = torch.randn(9, 3), torch.randn(shape)
    pt.elbo_loss(net, net.loss(x, y), num_data=9).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.warns(UserWarning, match="has never been trained"):
        p = pt.predict(net, x, num_samples=8, task="regression")
    assert p.mean.shape == p.epistemic.shape == p.aleatoric.shape == shape
    torch.testing.assert_close(p.distribution.variance, p.total)
    assert (p.epistemic > 0).all()


def test_the_aleatoric_part_is_the_mixture_s_own_variance():
    data = inverted_sine(1500, seed=2)
    net = MixtureDensityNetwork(body(), 12, num_components=3)
    net.fit(*data, num_epochs=80, lr=2e-2, seed=0)
    net = pt.bayesianize(net)
    net.fit(*data, num_epochs=30, lr=1e-2, patience=None, seed=0)
    x = torch.tensor([[0.5], [0.05]])
    p = pt.predict(net, x, num_samples=100, task="regression")
    # Three t are possible at 1/2, and one at 0.05.
    assert p.aleatoric[0] > 2 * p.aleatoric[1]
    assert (p.epistemic < p.aleatoric).all()


def test_one_component_is_a_heteroscedastic_regression():
    net = MixtureDensityNetwork(nn.Linear(3, 4), 4, 2, num_components=1)
    x, y = torch.randn(6, 3), torch.randn(6, 2)
    d = net(x)
    component = d.component_distribution.base_dist
    expected = -dist.Normal(component.loc[:, 0], component.scale[:, 0]).log_prob(y).sum(-1).mean()
    torch.testing.assert_close(net.loss(x, y), expected)


def test_units_of_the_targets_only_shift_the_loss():
    x, t = inverted_sine(300, seed=3)
    losses = []
    for unit in (1.0, 100.0):
        torch.manual_seed(0)
        net = MixtureDensityNetwork(body(), 12, num_components=2)
        net.fit(x, unit * t, num_epochs=3, seed=0)
        losses.append(net.loss(x, unit * t).item())
    assert losses[1] - losses[0] == pytest.approx(math.log(100.0), abs=1e-3)


def test_it_compiles_as_one_graph():
    net = MixtureDensityNetwork(body(), 12)
    x, t = inverted_sine(20, seed=4)
    compiled = torch.compile(lambda x, t: net.loss(x, t), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, t), net.loss(x, t))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_components": 0}, "num_components must be a whole number of at least 1, got 0"),
        ({"out_features": -1}, "out_features must be a whole number"),
        ({"min_scale": -1.0}, "min_scale must be positive"),
        ({"family": "x"}, "family must be one of"),
        ({"in_features": 3}, "set in_features=4"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureDensityNetwork(**{"body": nn.Linear(3, 4), "in_features": 4} | options)
