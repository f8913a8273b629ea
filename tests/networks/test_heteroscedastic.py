"""Regression with noise that depends on the input."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity.networks import HeteroscedasticRegressor


def true_scale(x):
    return 0.1 + 0.3 * (1 + torch.sin(3 * x))


def waves(num, seed):
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(num, 1, generator=generator) - 1
    y = 20 + 5 * (torch.sin(4 * x) + true_scale(x) * torch.randn(num, 1, generator=generator))
    return x, y.squeeze(-1)


def body(width=12):
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_known_location_and_scale_are_recovered(beta):
    num = 3000
    x, y = waves(num, seed=0)
    net = HeteroscedasticRegressor(body(), 12, beta=beta)
    net.fit(x, y, num_epochs=150, lr=1e-2, batch_size=250, seed=0, validation_fraction=0.2)
    grid = torch.linspace(-1, 1, 401).unsqueeze(-1)
    with torch.no_grad():
        found = net(grid)
    truth = dist.Normal(20 + 5 * torch.sin(4 * grid[:, 0]), 5 * true_scale(grid[:, 0]))
    excess = dist.kl_divergence(truth, found).mean().item()
    # Wilks: 2 n times the excess is at most chi-squared in as many degrees of freedom as there are parameters, of which
    # the tail beyond 4.75 standard deviations is below 1e-6; the weighted loss is less efficient than likelihood.
    free, train = sum(p.numel() for p in net.parameters()), 0.8 * num
    assert excess < (1 + (beta > 0)) * (free + 4.75 * math.sqrt(2 * free)) / (2 * train)


def test_the_loss_without_beta_is_the_mean_negative_log_likelihood():
    net = HeteroscedasticRegressor(nn.Linear(3, 4), 4, 2)
    x, y = torch.randn(7, 3), torch.randn(7, 2)
    d = net(x)
    assert isinstance(d, dist.Normal)
    expected = F.gaussian_nll_loss(d.loc, y, d.variance, full=True, reduction="none").sum(-1).mean()
    torch.testing.assert_close(net.loss(x, y), expected)


def test_beta_one_gives_the_mean_the_gradients_of_least_squares():
    net = HeteroscedasticRegressor(nn.Linear(3, 4), 4, beta=1.0).double()
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(net.loss(x, y), net.head.bias)
    expected = (net(x).mean - y).mean()
    torch.testing.assert_close(gradient[0], expected)


def test_a_loss_weighted_by_beta_does_not_depend_on_the_units_of_the_targets():
    gradients = []
    for unit in (1.0, 1000.0):
        torch.manual_seed(0)
        net = HeteroscedasticRegressor(nn.Linear(1, 4), 4, beta=0.5).double()
        x, y = (t.double() for t in waves(60, seed=1))
        net.targets.measure(unit * y)
        gradients.append(torch.autograd.grad(net.loss(x, unit * y), net.head.weight)[0])
    # Only the normaliser's logarithm of the unit differs, and its weight has no gradient.
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("family", ["normal", "student_t", "laplace", "logistic", dist.Gumbel])
@pytest.mark.parametrize("out_features", [None, 1, 3])
def test_prediction_and_bounds_take_every_family(family, out_features):
    net = pt.bayesianize(HeteroscedasticRegressor(nn.Linear(2, 4), 4, out_features, family=family))
    shape = (9,) if out_features is None else (9, out_features)
    x, y = torch.randn(9, 2), torch.randn(shape)
    pt.elbo_loss(net, net.loss(x, y), num_data=9).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.warns(UserWarning, match="has never been trained"):
        p = pt.predict(net, x, num_samples=8, task="regression")
    assert p.mean.shape == p.epistemic.shape == p.aleatoric.shape == shape
    torch.testing.assert_close(p.distribution.variance, p.total)
    assert (p.epistemic > 0).all()
    assert (p.aleatoric > 0).all()


def test_heavy_tails_are_found_by_student():
    x = torch.randn(2000, 1)
    y = dist.StudentT(torch.tensor(3.0)).sample((2000,), generator=torch.Generator().manual_seed(0))
    losses = {}
    for family in ("normal", "student_t"):
        net = HeteroscedasticRegressor(nn.Linear(1, 2), 2, family=family)
        net.fit(x[:1000], y[:1000], num_epochs=30, lr=5e-2, seed=0)
        losses[family] = net.loss(x[1000:], y[1000:]).item()
    truth = -dist.StudentT(torch.tensor(3.0)).log_prob(y[1000:]).mean().item()
    # The entropy of t(3) is 1.773 and the cross-entropy of the best normal 1.968: between them lies half.
    assert losses["student_t"] - truth < 0.5 * (losses["normal"] - truth)


def test_more_data_take_the_epistemic_part_and_leave_the_aleatoric_one():
    parts = []
    for num in (30, 1500):
        x, y = waves(num, seed=2)
        net = pt.bayesianize(HeteroscedasticRegressor(body(8), 8))
        net.fit(x, y, num_epochs=600 * 30 // num, lr=2e-2, batch_size=50, patience=None, seed=0)
        p = pt.predict(net, x[:30], num_samples=200, task="regression")
        parts.append((p.epistemic.mean() / p.total.mean()).item())
    assert parts[1] < 0.5 * parts[0]


def test_dropout_that_stays_on_is_predicted_from():
    class Dropping(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, training=True)

    net = HeteroscedasticRegressor(nn.Sequential(nn.Linear(2, 16), nn.ReLU(), Dropping()), 16, 1)
    p = pt.predict(net, torch.randn(5, 2), num_samples=16, task="regression")
    torch.testing.assert_close(p.distribution.variance, p.total)
    assert (p.epistemic > 0).all()


def test_state_is_saved_with_the_units():
    x, y = waves(200, seed=3)
    net = HeteroscedasticRegressor(body(), 12)
    net.fit(x, y, num_epochs=2, seed=0)
    other = HeteroscedasticRegressor(body(), 12)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x).mean, net(x).mean, rtol=0, atol=0)


def test_it_compiles_as_one_graph():
    net = HeteroscedasticRegressor(body(), 12).eval()
    x, y = waves(20, seed=4)
    compiled = torch.compile(lambda x, y: net.loss(x, y), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y), net.loss(x, y))


def test_a_body_of_another_width_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match=r"features \[batch, in_features=5\], got \[2, 12\]; set in_features=12"):
        HeteroscedasticRegressor(body(), 5)


def test_a_body_of_another_width_is_refused_at_the_first_forward_where_it_cannot_be_tried_out():
    net = HeteroscedasticRegressor(nn.Conv1d(1, 2, 3), 4)
    with pytest.raises(ValueError, match=r"got \[5, 2, 6\]; end it with nn.Flatten"):
        net(torch.randn(5, 1, 8))
    with pytest.raises(TypeError, match="body must return a tensor of features, got tuple"):
        HeteroscedasticRegressor(nn.LSTM(3, 4), 4)(torch.randn(5, 1, 3))


def test_trying_a_body_out_leaves_no_trace():
    norm = nn.BatchNorm1d(3)
    before = torch.get_rng_state()
    inner = nn.Sequential(nn.Linear(2, 3), norm, nn.Dropout())
    after_making = torch.get_rng_state()
    inner.eval()
    inner[1].train()
    from posterity.networks.regressor import check_body

    check_body("X", inner, 3)
    assert torch.equal(torch.get_rng_state(), after_making)
    assert not torch.equal(before, after_making)
    assert norm.num_batches_tracked == 0
    assert norm.training
    assert not inner.training


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features must be a whole number of at least 1"),
        ({"out_features": 0}, ValueError, "out_features must be a whole number of at least 1, got 0"),
        ({"beta": 2.0}, ValueError, r"beta must be in \[0, 1\]"),
        ({"min_scale": 0.0}, ValueError, "min_scale must be positive"),
        ({"family": "cauchy"}, ValueError, "family must be one of 'normal', 'student_t'"),
        ({"family": 3}, TypeError, "family must be a name or a function"),
        ({"body": "mlp"}, TypeError, "body must be a torch.nn.Module, got str"),
    ],
)
def test_bad_arguments_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        HeteroscedasticRegressor(**{"body": nn.Linear(3, 4), "in_features": 4} | options)


def test_a_family_that_returns_no_distribution_of_the_shape_is_refused():
    net = HeteroscedasticRegressor(nn.Linear(3, 4), 4, family=lambda loc, scale: loc)
    with pytest.raises(TypeError, match=r"must return a Distribution with batch shape \[5\], got Tensor"):
        net(torch.randn(5, 3))


@pytest.mark.parametrize(
    ("x", "y", "kind", "message"),
    [
        (torch.ones(5, 3), torch.ones(5, 1), ValueError, r"y must have shape \[batch\], got \[5, 1\]; use y.squeeze"),
        (torch.ones(5, 3), torch.ones(4), ValueError, "same number of examples"),
        (torch.ones(5, 3), torch.ones(5, dtype=torch.long), TypeError, "y must be floating, got torch.int64"),
        (torch.ones(5, 3), [1.0], TypeError, "y must be a tensor, got list"),
        (torch.full((5, 3), torch.nan), torch.ones(5), ValueError, "x has 15 values that are NaN or infinite"),
        (torch.ones(5, 3), torch.full((5,), torch.inf), ValueError, "y has 5 values"),
    ],
)
def test_bad_data_are_refused_before_training(x, y, kind, message):
    net = HeteroscedasticRegressor(nn.Linear(3, 4), 4)
    for call in (net.loss, net.fit):
        with pytest.raises(kind, match=message):
            call(x, y)


def test_targets_without_their_dimension_are_refused():
    net = HeteroscedasticRegressor(nn.Linear(3, 4), 4, 1)
    with pytest.raises(ValueError, match=r"\[batch, 1\], got \[5\]; use y.unsqueeze\(-1\), or out_features=None"):
        net.loss(torch.ones(5, 3), torch.ones(5))


def test_a_weighted_loss_is_no_bound_for_random_weights():
    net = pt.bayesianize(HeteroscedasticRegressor(nn.Linear(3, 4), 4, beta=0.5))
    with pytest.raises(ValueError, match="beta=0.5 weights the likelihood"):
        net.fit(torch.randn(20, 3), torch.randn(20))
