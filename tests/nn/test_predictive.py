"""Many draws of a stochastic module: shapes, sources, and the vectorised path of `local`."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from posterity.kernels import Key
from posterity.nn.predictive import _row_by_row, call, stack_outputs, stochastic_draws
from tests.statistical import assert_mean, assert_normal_variance, assert_same_distribution, assert_uncorrelated


class Outputs(nn.Module):
    """A local layer whose output is made into something else."""

    def __init__(self, make, estimator="local"):
        super().__init__()
        self.layer = bnn.Linear(3, 2, estimator=estimator)
        self.make = make

    def forward(self, x):
        return self.make(self.layer(x))


def branches(y):
    return y if (y > 0).any() else -y


def writes(y):
    out = torch.zeros(len(y), 4)
    out[:, :2] = y
    return out


class Recurrent(nn.LSTM):
    def forward(self, y):
        return super().forward(y[:, None])[0][:, 0]


@pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
@pytest.mark.parametrize("grad", [True, False])
def test_draws_are_stacked_and_distinct(estimator, grad):
    layer = bnn.Linear(3, 2, estimator=estimator)
    with torch.set_grad_enabled(grad):
        draws = stochastic_draws(layer, torch.ones(5, 3), num_samples=7)
    assert draws.shape == (7, 5, 2)
    assert len(draws[:, 0, 0].unique()) == 7
    assert draws.requires_grad == grad


@pytest.mark.parametrize("training", [True, False], ids=["vmap", "rows"])
def test_vectorised_draws_have_the_layers_moments(training):
    layer = bnn.Linear(3, 2, estimator="local", dtype=torch.float64).train(training)
    x = torch.randn(2, 3, dtype=torch.float64)
    with torch.no_grad():
        draws = stochastic_draws(layer, x, num_samples=9000)  # more than one block of rows
        scale = nn.functional.softplus(layer.weight_rho), nn.functional.softplus(layer.bias_rho)
        assert_mean(draws, nn.functional.linear(x, layer.weight_loc, layer.bias_loc))
        assert_normal_variance(draws, x.square() @ scale[0].square().mT + scale[1].square())


def chain(*between):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *between, nn.Linear(4, 2)).double().eval()
    return pt.bayesianize(net, estimator="local", posterior=bnn.MeanFieldNormal(0.7)).eval()


@torch.no_grad()
def test_draws_as_rows_are_those_of_vmap_in_distribution():
    class Opaque(nn.Identity):
        """Nothing is known of it, so that the network is vectorised."""

    x = torch.randn(2, 3, dtype=torch.float64)
    rows, vectorised = chain(nn.Identity()), chain(Opaque())
    vectorised.load_state_dict(rows.state_dict())
    assert _row_by_row(rows)
    assert not _row_by_row(vectorised)
    first, second = (stochastic_draws(net, x, 5000) for net in (rows, vectorised))
    assert first.shape == second.shape == (5000, 2, 2)
    for example in range(2):
        for feature in range(2):
            assert_same_distribution(first[:, example, feature], second[:, example, feature])
    assert_uncorrelated(first[:, 0, 0], first[:, 1, 0])  # each example has networks of its own
    assert_uncorrelated(first[:-1, 0, 0], first[1:, 0, 0])  # and so has each draw


class Centred(nn.Module):
    def forward(self, y):
        return y - y.mean(0)


@torch.no_grad()
def test_networks_that_mix_examples_do_not_mix_draws():
    net = chain()
    net.append(Centred())
    draws = stochastic_draws(net, torch.randn(4, 3, dtype=torch.float64), 5)
    torch.testing.assert_close(draws.mean(1), torch.zeros(5, 2, dtype=torch.float64))
    assert len(draws[:, 0, 0].unique()) == 5


@torch.no_grad()
def test_whatever_is_random_beside_the_local_layers_is_drawn_for_each():
    exact = {"estimator": "local", "posterior": bnn.MeanFieldNormal(1e-9)}
    x = torch.ones(1, 3)
    dropout = pt.bayesianize(nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), **exact).train()
    assert stochastic_draws(dropout, x, 50)[:, 0, 0].std() > 1e-3
    biases = pt.bayesianize(nn.Linear(3, 2), include="bias", estimator="local").eval()
    assert len(stochastic_draws(biases, x, 5)[:, 0, 0].unique()) == 5


@torch.no_grad()
def test_draws_within_one_shared_draw_are_the_same():
    net, x = chain(), torch.ones(2, 3, dtype=torch.float64)
    with bnn.shared_draw(net):
        draws = stochastic_draws(net, x, 3)
        torch.testing.assert_close(draws, net(x).expand(3, 2, 2))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda y: (y, y.exp()), (6, 5, 2)),
        (branches, (6, 5, 2)),
        (writes, (6, 5, 4)),
        (Recurrent(2, 3), (6, 5, 3)),
        (lambda y: SimpleNamespace(logits=y), (6, 5, 2)),
    ],
    ids=["tuple", "branch on values", "in-place", "lstm", "logits"],
)
def test_whatever_the_network_does_with_a_local_layer(make, shape):
    with torch.no_grad():
        draws = stochastic_draws(Outputs(make), torch.ones(5, 3), num_samples=6)
    first = draws[0] if isinstance(draws, tuple) else draws
    assert first.shape == shape
    assert not torch.equal(first[0], first[1])


def test_distributions_are_a_list():
    with torch.no_grad():
        draws = stochastic_draws(Outputs(lambda y: dist.Normal(y, 1.0)), torch.ones(5, 3), num_samples=6)
    assert len(draws) == 6
    assert all(d.batch_shape == (5, 2) for d in draws)


def test_a_networks_own_error_is_the_users():
    def fails(y):
        raise ValueError("mine")

    with torch.no_grad(), pytest.raises(ValueError, match="mine"):
        stochastic_draws(Outputs(fails), torch.ones(5, 3), num_samples=6)


@pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
@pytest.mark.parametrize("make", [Key, lambda seed: torch.Generator().manual_seed(seed)], ids=["key", "generator"])
@torch.no_grad()
def test_a_generator_decides_and_the_global_stream_stays(estimator, make):
    layer, x = bnn.Linear(3, 2, estimator=estimator), torch.ones(5, 3)
    before = torch.get_rng_state()
    first, again, other = (stochastic_draws(layer, x, 4, generator=make(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_a_generator_moves_on_and_streams_of_a_key_differ():
    layer, x = bnn.Linear(3, 2), torch.ones(5, 3)
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(stochastic_draws(layer, x, 4, generator), stochastic_draws(layer, x, 4, generator))
    assert not torch.equal(stochastic_draws(layer, x, 4, Key(0)), stochastic_draws(layer, x, 4, Key(0).at(1)))


def test_inputs_are_a_tensor_a_tuple_or_a_mapping():
    bilinear = nn.Bilinear(2, 3, 1)
    a, b = torch.randn(4, 2), torch.randn(4, 3)
    assert torch.equal(call(bilinear, (a, b)), bilinear(a, b))
    assert torch.equal(call(bilinear, {"input1": a, "input2": b}), bilinear(a, b))
    assert torch.equal(call(nn.Tanh(), a), a.tanh())


@pytest.mark.parametrize("output", [3.0, {"logits": torch.zeros(1)}, (torch.zeros(1), 2), ()])
def test_outputs_that_mean_nothing_are_refused(output):
    with pytest.raises(TypeError, match=f"the network returned {type(output).__name__}; a prediction needs a tensor"):
        stack_outputs([output])


class Storing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("level", torch.zeros(2))

    def forward(self, x):
        self.last = self.layer(x)
        self.level = 0.9 * self.level + 0.1 * self.last.mean(0)
        return self.last


@torch.no_grad()
def test_what_a_network_stores_on_itself_outlives_the_prediction():
    net = pt.bayesianize(Storing(), estimator="local").eval()
    assert stochastic_draws(net, torch.ones(4, 3), 5).shape == (5, 4, 2)
    assert net.last.shape == (4, 2)
    assert net.level.isfinite().all()
    net(torch.ones(4, 3))


@torch.no_grad()
def test_hooks_run_once_a_draw():
    net, seen = pt.bayesianize(nn.Linear(3, 2), estimator="local"), []
    net.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    stochastic_draws(net, torch.ones(4, 3), 5)
    assert seen == [(4, 2)] * 5


@torch.no_grad()
def test_an_object_with_logits_is_understood_with_local_too():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return SimpleNamespace(logits=self.layer(x))

    net = pt.bayesianize(Wrapped(), estimator="local")
    assert stochastic_draws(net, torch.ones(4, 3), 5).shape == (5, 4, 2)
