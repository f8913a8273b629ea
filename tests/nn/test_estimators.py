"""Estimators against closed forms: what a linear layer of normal weights gives is normal, with known moments."""

import shutil

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import posterity as pt
from posterity import nn as bnn
from posterity.kernels import Key, normal
from tests.statistical import (
    assert_mean,
    assert_normal_variance,
    assert_same_distribution,
    assert_uncorrelated,
)

DRAWS = 4000

# Layer, arguments, input shape, whether `local` has it.
LAYERS = {
    "dense": (bnn.Linear, (4, 3), {}, (5, 4), True),
    "dense, no bias": (bnn.Linear, (4, 3), {"bias": False}, (5, 4), True),
    "dense, one vector": (bnn.Linear, (4, 3), {}, (4,), True),
    "dense on sequences": (bnn.Linear, (4, 3), {}, (2, 3, 4), False),
    "conv1d": (bnn.Conv1d, (2, 3, 3), {"padding": 1}, (2, 2, 5), False),
    "conv2d": (bnn.Conv2d, (2, 4, (3, 2)), {"stride": (2, 1)}, (2, 2, 5, 4), False),
    "conv2d, groups": (bnn.Conv2d, (4, 6, 3), {"groups": 2, "dilation": 2}, (2, 4, 6, 6), False),
    "conv2d, circular": (bnn.Conv2d, (2, 2, 3), {"padding": 1, "padding_mode": "circular"}, (2, 2, 4, 4), False),
    "conv2d, reflect": (bnn.Conv2d, (2, 2, 3), {"padding": "same", "padding_mode": "reflect"}, (2, 2, 4, 4), False),
    "conv2d, no batch": (bnn.Conv2d, (2, 2, 3), {}, (2, 4, 4), False),
    "conv3d": (bnn.Conv3d, (1, 2, 2), {}, (2, 1, 3, 3, 3), False),
}
CASES = [(name, e) for name, case in LAYERS.items() for e in ("reparam", "flipout", "local") if e != "local" or case[4]]
each_case = pytest.mark.parametrize(("name", "estimator"), CASES)


def make(name: str, estimator: str) -> tuple[bnn.RandomModule, torch.Tensor]:
    kind, arguments, keywords, shape, _ = LAYERS[name]
    layer = kind(*arguments, **keywords, estimator=estimator, dtype=torch.float64)
    with torch.no_grad():
        for rho in (p for n, p in layer.named_parameters() if n.endswith("rho")):
            rho.copy_(torch.randn_like(rho) - 1)
    return layer, torch.randn(shape, dtype=torch.float64)


def plain(layer: bnn.RandomModule) -> nn.Module:
    return pt.transform.deterministic(layer)


def is_batched(name: str) -> bool:
    return name not in ("dense, one vector", "conv2d, no batch")


@each_case
def test_every_linear_functional_has_its_exact_moments_per_example(name, estimator):
    """For any probe of one example's whole output: its mean at the means, its variance from the weights' variances."""
    layer, x = make(name, estimator)
    mean_layer = plain(layer)
    expected = mean_layer(x)
    examples = (lambda t: t.flatten(1)) if is_batched(name) else (lambda t: t.flatten()[None])
    probe = torch.randn_like(expected)
    variances = []
    for functional in examples(probe * expected).sum(1):
        grads = torch.autograd.grad(functional, list(mean_layer.parameters()), retain_graph=True)
        scales = [F.softplus(getattr(layer, f"{n}_rho")) for n, _ in mean_layer.named_parameters()]
        variances.append(sum((g * s).square().sum() for g, s in zip(grads, scales, strict=True)))
    with torch.no_grad():
        draws = torch.stack([examples(probe * layer(x)).sum(1) for _ in range(DRAWS)])
    assert_mean(draws, examples(probe * expected).sum(1).detach())
    assert_normal_variance(draws, torch.stack(variances).detach())


@pytest.mark.parametrize(("name", "estimator"), [("dense", "flipout"), ("dense", "local"), ("conv2d", "flipout")])
def test_examples_are_uncorrelated(name, estimator):
    layer, x = make(name, estimator)
    x = x[:1].expand(2, *x.shape[1:])
    with torch.no_grad():
        layer.bias_rho.fill_(1.0)
        draws = torch.stack([layer(x).flatten(1)[:, 0] for _ in range(DRAWS)])
    assert (draws[:, 0] != draws[:, 1]).any()
    assert_uncorrelated(draws[:, 0], draws[:, 1])


@pytest.mark.parametrize("name", LAYERS)
def test_reparam_is_one_function_for_all_examples(name):
    layer, x = make(name, "reparam")
    if not is_batched(name):
        x = x[None]
    out = layer(x[:1].expand(3, *x.shape[1:]))
    torch.testing.assert_close(out, out[:1].expand_as(out))


class TestFlipout:
    def test_positions_of_a_sequence_share_their_weights(self):
        layer = bnn.Linear(4, 3, estimator="flipout")
        out = layer(torch.randn(6, 1, 4).expand(6, 7, 4))
        torch.testing.assert_close(out, out[:, :1].expand_as(out))

    @pytest.mark.parametrize(("kind", "dims"), [(bnn.Conv1d, 1), (bnn.Conv2d, 2), (bnn.Conv3d, 3)])
    def test_positions_of_an_image_share_their_weights(self, kind, dims):
        layer = kind(3, 4, 3, padding=1, padding_mode="circular", estimator="flipout")
        x = torch.randn(5, 3, *(1,) * dims).expand(5, 3, *(4,) * dims)
        out = layer(x).flatten(2)
        torch.testing.assert_close(out, out[..., :1].expand_as(out))
        assert not torch.equal(out[0], out[1])

    @given(lengths=st.lists(st.integers(1, 6), min_size=2, max_size=3), batch=st.integers(1, 4))
    def test_a_layer_run_again_has_the_same_weights_example_by_example(self, lengths, batch):
        layer = bnn.Linear(4, 3, estimator="flipout", dtype=torch.float64)

        class Siamese(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, *xs):
                return [self.layer(x) for x in xs]

        x = torch.randn(batch, max(lengths), 4, dtype=torch.float64)
        outputs = pt.bayesianize(Siamese(), inplace=True)(*(x[:, :length] for length in lengths))
        for a in outputs:
            for b in outputs:
                shared = min(a.shape[1], b.shape[1])
                torch.testing.assert_close(a[:, :shared], b[:, :shared])

    def test_tied_weights_share_a_perturbation_and_biases_do_not(self):
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight

        class Both(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = first, second

            def forward(self, x):
                return self.first(x), self.second(x)

        net = pt.bayesianize(Both(), estimator="flipout").double()
        x = torch.randn(4, 3, dtype=torch.float64)
        silent = [net.first.bias_rho, net.second.bias_rho]
        with torch.no_grad():
            for rho in silent:
                rho.fill_(-800.0)
        a, b = net(x)
        torch.testing.assert_close(a - net.first.bias_loc, b - net.second.bias_loc)
        with torch.no_grad():
            net.first.weight_rho.fill_(-800.0)
            net.second.bias_rho.fill_(0.5)
            draws = torch.stack([net(x)[1][0] for _ in range(DRAWS)])
        assert_normal_variance(draws, F.softplus(torch.tensor(0.5).double()).square())

    def test_a_fixed_bias_is_not_perturbed(self):
        layer = pt.bayesianize(nn.Linear(3, 2).double(), include="weight", estimator="flipout")
        out = layer(torch.zeros(4, 3, dtype=torch.float64))
        torch.testing.assert_close(out, layer.bias.expand(4, 2))


class TestLocal:
    @pytest.mark.parametrize("shape", [(2, 3, 4), (2, 2, 2, 4)])
    def test_it_refuses_sequences(self, shape):
        layer = bnn.Linear(4, 3, estimator="local")
        with pytest.raises(ValueError, match=r"estimator='local' draws other weights for every position"):
            layer(torch.ones(shape))

    def test_it_refuses_to_run_twice(self):
        layer = bnn.Linear(3, 3, estimator="local")
        net = pt.bayesianize(nn.Sequential(layer, nn.ReLU(), layer))
        with pytest.raises(ValueError, match="estimator='local': the layer ran twice in one forward"):
            net(torch.ones(2, 3))

    def test_a_refused_forward_leaves_nothing_open(self):
        layer = bnn.Linear(3, 3, estimator="local")
        with pytest.raises(ValueError, match="every position"):
            layer(torch.ones(2, 2, 3))
        assert layer(torch.ones(2, 3)).shape == (2, 3)

    def test_convolutions_do_not_have_it(self):
        with pytest.raises(ValueError, match=r"'local' does not exist for Conv2d.*Use 'reparam' or 'flipout'"):
            bnn.Conv2d(1, 2, 3, estimator="local")


@each_case
def test_no_scale_is_the_deterministic_layer(name, estimator):
    layer, x = make(name, estimator)
    with torch.no_grad():
        for rho in (p for n, p in layer.named_parameters() if n.endswith("rho")):
            rho.fill_(-800.0)
    torch.testing.assert_close(layer(x), plain(layer)(x), rtol=1e-12, atol=1e-12)


@each_case
@pytest.mark.parametrize("zero", [True, False])
def test_gradients_reach_loc_and_rho_and_are_finite(name, estimator, zero):
    layer, x = make(name, estimator)
    x = (torch.zeros_like(x) if zero else x).requires_grad_()
    layer(x).square().sum().backward()
    for parameter_name, p in layer.named_parameters():
        assert p.grad.isfinite().all(), parameter_name
        assert zero or p.grad.any(), parameter_name
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
def test_gradient_of_a_linear_model_is_unbiased(estimator):
    """E (y - w x)^2 has the gradients 2 sum x (m x - y) and 2 s sum x^2 in w's mean m and scale s."""
    layer = bnn.Linear(1, 1, bias=False, estimator=estimator, posterior=bnn.MeanFieldNormal(0.7), dtype=torch.float64)
    x = torch.linspace(-1, 2, 6, dtype=torch.float64)[:, None]
    y = 3 * x + 0.1
    grads = []
    for _ in range(DRAWS):
        loss = (y - layer(x)).square().sum()
        grads.append(torch.autograd.grad(loss, [layer.weight_loc, layer.weight_rho]))
    m, slope = layer.weight_loc.item(), torch.sigmoid(layer.weight_rho).item()
    assert_mean(torch.stack([g[0] for g in grads]), 2 * float((x * (m * x - y)).sum()))
    assert_mean(torch.stack([g[1] for g in grads]), 2 * 0.7 * float(x.square().sum()) * slope)


def test_gradient_of_reparam_is_the_chain_rule():
    layer, x = make("dense", "reparam")
    with bnn.shared_draw(layer):
        layer(x).square().sum().backward()
        weight, bias = layer.weight.detach(), layer.bias.detach()
    y = F.linear(x, weight, bias)
    by_weight, by_bias = 2 * y.mT @ x, 2 * y.sum(0)
    for name, drawn, by_value in (("weight", weight, by_weight), ("bias", bias, by_bias)):
        loc, rho = getattr(layer, f"{name}_loc"), getattr(layer, f"{name}_rho")
        noise = (drawn - loc) / F.softplus(rho)
        torch.testing.assert_close(loc.grad, by_value)
        torch.testing.assert_close(rho.grad, (by_value * noise * torch.sigmoid(rho)).detach())


@pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
def test_half_precision(estimator):
    layer = bnn.Linear(4, 3, estimator=estimator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(torch.randn(5, 4))
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())
    for dtype in (torch.bfloat16, torch.float16):
        halved = bnn.Linear(4, 3, estimator=estimator, dtype=dtype)
        out = halved(torch.randn(5, 4, dtype=dtype))
        assert out.dtype == dtype
        assert out.isfinite().all()


def test_unknown_estimators_are_refused():
    with pytest.raises(ValueError, match="estimator must be one of 'reparam', 'flipout', 'local', got 'lrt'"):
        bnn.Linear(2, 2, estimator="lrt")


class TestCompiled:
    """One small network each: a compilation costs ten seconds."""

    pytestmark = pytest.mark.skipif(
        not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler here"
    )

    @pytest.fixture(autouse=True)
    def _strict(self):
        torch._dynamo.reset()
        with torch._dynamo.config.patch(error_on_recompile=True):
            yield
        torch._dynamo.reset()

    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    def test_one_graph_with_the_moments_of_eager(self, estimator):
        training = estimator == "reparam"
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) if training else nn.Linear(3, 2)
        net = pt.bayesianize(net, estimator=estimator, posterior=bnn.MeanFieldNormal(0.5))
        compiled, x = torch.compile(net, fullgraph=True), torch.randn(1, 3).repeat(2, 1)
        with torch.set_grad_enabled(training):
            draws = torch.stack([compiled(x) for _ in range(DRAWS)])
            eager = torch.stack([net(x) for _ in range(DRAWS)])
            for i in range(2):
                for j in range(2):
                    assert_same_distribution(draws[:, i, j], eager[:, i, j])
            assert len(draws[:, 0, 0].unique()) > DRAWS * 0.99
            assert torch.equal(draws[:, 0], draws[:, 1]) == training
            torch.manual_seed(3)
            first = compiled(x)
            torch.manual_seed(3)
            assert torch.equal(first, compiled(x))
        if training:
            first.sum().backward()
            assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())

    def test_a_key_draws_the_same_compiled(self):
        @torch.compile(fullgraph=True)
        def numbers(data):
            return normal((5, 3), source=Key(data).at(2), dtype=torch.float64)

        for seed in (0, 1):
            data = Key(seed).data
            expected = normal((5, 3), source=Key(data).at(2), dtype=torch.float64)
            torch.testing.assert_close(numbers(data), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("estimator", ["flipout", "local"])
def test_a_bias_that_is_no_parameter_still_counts(estimator):
    layer = nn.Linear(3, 2)
    torch.nn.utils.prune.identity(layer, "bias")
    with torch.no_grad():
        layer.bias_orig.fill_(100.0)
        layer(torch.ones(1, 3))
    out = pt.bayesianize(layer, include="weight", estimator=estimator)(torch.ones(1, 3))
    assert (out > 90).all()


def test_local_keeps_its_variance_in_half_precision():
    layer = pt.bayesianize(nn.Linear(3, 2), estimator="local", posterior=bnn.MeanFieldNormal(1e-4)).half()
    big = torch.full((4, 3), 300.0).half()
    assert layer(big).isfinite().all()
    with torch.no_grad():
        assert not torch.equal(layer(big), layer(big))


@torch.no_grad()
@pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
def test_one_draw_for_all_inputs_of_a_vmap(estimator):
    layer, x = bnn.Linear(3, 2, estimator=estimator), torch.ones(3)
    inputs = x.expand(4, 3).contiguous()
    out = torch.vmap(layer, randomness="same")(inputs)
    assert torch.equal(out, out[:1].expand(4, 2))
    assert len(torch.vmap(layer, randomness="different")(inputs)[:, 0].unique()) == 4
