"""The Bayesian dense layer is torch's, with distributions in it."""

import inspect

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import posterity as pt
from posterity import nn as bnn

PAIRS = [(bnn.Linear, nn.Linear), (bnn.Conv1d, nn.Conv1d), (bnn.Conv2d, nn.Conv2d), (bnn.Conv3d, nn.Conv3d)]
ARGUMENTS = {nn.Linear: (4, 3), nn.Conv1d: (2, 3, 3), nn.Conv2d: (2, 3, 3), nn.Conv3d: (2, 3, 2)}
INPUTS = {nn.Linear: (5, 4), nn.Conv1d: (5, 2, 6), nn.Conv2d: (5, 2, 6, 6), nn.Conv3d: (5, 2, 4, 4, 4)}
each_layer = pytest.mark.parametrize(("ours", "torchs"), PAIRS, ids=[t.__name__ for _, t in PAIRS])


@each_layer
def test_constructor_is_torchs_and_three_keywords(ours, torchs):
    mine, theirs = (inspect.signature(kind).parameters for kind in (ours, torchs))
    for name, parameter in theirs.items():
        assert mine[name].default == parameter.default
        assert mine[name].kind == parameter.kind
    assert list(mine)[: len(theirs)] == list(theirs)
    extra = list(mine)[len(theirs) :]
    assert extra == ["prior", "posterior", "estimator"]
    assert all(mine[name].kind is inspect.Parameter.KEYWORD_ONLY for name in extra)


@each_layer
def test_it_is_one_of_torchs(ours, torchs):
    layer = ours(*ARGUMENTS[torchs])
    assert isinstance(layer, torchs)
    assert isinstance(layer, bnn.RandomModule)
    assert [n for n, _ in layer.named_parameters()] == ["weight_loc", "weight_rho", "bias_loc", "bias_rho"]
    assert ours(*ARGUMENTS[torchs], bias=False).bias is None


@each_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(ours, torchs, dtype):
    layer = ours(*ARGUMENTS[torchs], dtype=dtype)
    x = torch.randn(INPUTS[torchs], dtype=dtype)
    assert layer(x).dtype == layer.weight.dtype == bnn.kl_divergence(layer).dtype == dtype
    assert pt.elbo_loss(layer, layer(x).square().mean(), num_data=5).dtype == dtype


@each_layer
def test_means_start_as_torch_initialises(ours, torchs):
    torch.manual_seed(0)
    expected = torchs(*ARGUMENTS[torchs])
    torch.manual_seed(0)
    layer = ours(*ARGUMENTS[torchs])
    assert torch.equal(layer.weight_loc, expected.weight)
    assert torch.equal(layer.bias_loc, expected.bias)


class OnlyMeta(TorchDispatchMode):
    """Refuses every operation that makes a tensor elsewhere."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            assert not isinstance(leaf, torch.Tensor) or leaf.is_meta, f"{func} made a tensor on {leaf.device}"
        return result


@pytest.mark.usefixtures("no_validation")
@pytest.mark.parametrize(
    ("ours", "torchs", "estimator"),
    [(*pair, e) for pair in PAIRS for e in pair[0]._estimators],
)
@pytest.mark.parametrize("prior", [None, "pretrained", bnn.ScaleMixture()], ids=["fan in", "pretrained", "mixture"])
def test_no_operation_leaves_the_device(ours, torchs, estimator, prior):
    with OnlyMeta():
        layer = ours(*ARGUMENTS[torchs], device="meta", prior=prior, estimator=estimator)
        out = layer(torch.empty(INPUTS[torchs], device="meta"))
        loss = pt.elbo_loss(layer, out.square().mean(), num_data=10)
        loss.backward()
        layer.reset_parameters()
    assert out.is_meta
    assert all(p.grad.is_meta for p in layer.parameters())


@pytest.mark.usefixtures("no_validation")
def test_conversion_and_back_stay_on_the_device():
    with OnlyMeta():
        net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, device="meta")
        net = pt.bayesianize(net)
        assert net(torch.empty(2, 3, 8, device="meta")).is_meta
        pt.transform.deterministic(net)


@each_layer
def test_made_on_meta_and_brought_to_life(ours, torchs):
    layer = ours(*ARGUMENTS[torchs], device="meta").to_empty(device="cpu")
    layer.reset_parameters()
    assert layer(torch.randn(INPUTS[torchs])).isfinite().all()
    assert bnn.kl_divergence(layer) > 0


@pytest.mark.parametrize("posterior", ["normal", 3, bnn.MeanFieldNormal])
def test_what_is_no_posterior_is_refused(posterior):
    with pytest.raises(TypeError, match="posterior must be a posterity.nn.Posterior"):
        bnn.Linear(2, 2, posterior=posterior)
