"""Coupling and autoregressive layers: what stays, how many passes each direction takes, and what does not fit."""

import pytest
import torch
from torch import nn

from posterity.bijectors import (
    IAF,
    MADE,
    MAF,
    MLP,
    NICE,
    AdditiveTransformer,
    AffineTransformer,
    Autoregressive,
    Coupling,
    NeuralSplineFlow,
    RealNVP,
)


class _Counting(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.passes = network, 0

    def forward(self, *inputs):
        self.passes += 1
        return self.network(*inputs)


def _randomise(module, spread=1.0):
    stream = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = spread * torch.randn(parameter.shape, generator=stream)
    return module


def test_kept_entries_stay_and_determine_the_others():
    layer = _randomise(Coupling([False, True, True, False], MLP(2, 4), AffineTransformer()))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    y = layer(x)
    assert torch.equal(y[1:3], x[1:3])
    jacobian = torch.func.jacrev(layer.forward)(x)
    changed = jacobian[[0, 3]]
    assert bool((changed[:, 1:3] != 0).all())
    assert changed[0, 3] == changed[1, 0] == 0


def test_nice_has_one_log_det_everywhere():
    flow = _randomise(NICE(3), 0.3)
    log_det = flow.forward_log_det_jacobian(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(log_det, log_det[:1].expand(50))
    assert log_det[0] != 0


def test_couplings_take_one_pass_either_way():
    conditioner = _Counting(MLP(1, 2))
    layer, x = Coupling([True, False], conditioner, AffineTransformer()), torch.zeros(5, 2)
    layer.forward_and_log_det(x)
    assert conditioner.passes == 1
    layer.inverse_and_log_det(x)
    assert conditioner.passes == 2


def test_autoregressive_layers_take_one_pass_forward_and_one_per_feature_back():
    conditioner = _Counting(MADE(4, 2))
    layer, x = Autoregressive(4, conditioner, AffineTransformer()), torch.zeros(5, 4)
    layer.forward_and_log_det(x)
    assert conditioner.passes == 1
    layer.inverse_and_log_det(x)
    assert conditioner.passes == 1 + 4


def _passes(flow, method, x):
    counts = []
    hooks = [m.register_forward_hook(lambda *_: counts.append(1)) for m in flow.modules() if isinstance(m, MADE)]
    getattr(flow, method)(x)
    for hook in hooks:
        hook.remove()
    return len(counts)


def test_maf_is_fast_for_densities_and_iaf_for_draws():
    x = torch.zeros(5, 3)
    maf, iaf = MAF(3, num_layers=2), IAF(3, num_layers=2)
    assert _passes(maf, "inverse_and_log_det", x) == _passes(iaf, "forward_and_log_det", x) == 2
    # The other direction goes from feature to feature, and never runs the whole network.
    assert _passes(maf, "forward_and_log_det", x) == _passes(iaf, "inverse_and_log_det", x) == 0


def test_unfinished_passes_do_not_spoil_the_inverse():
    # Weights so large that values from unfinished parameters would overflow, and inf times a masked 0 be NaN.
    layer = _randomise(Autoregressive(6, MADE(6, 2), AffineTransformer(max_log_scale=60.0)), 3.0)
    y = 1e20 * torch.ones(3, 6)
    assert bool(layer.inverse(y)[:, 0].isfinite().all())
    assert not bool(layer.inverse(y)[:, 0].isnan().any())


def test_a_scale_is_bounded_and_small_ones_are_as_given():
    transform = AffineTransformer(max_log_scale=2.0)(torch.tensor([0.0, 1e9]))
    torch.testing.assert_close(transform.forward_log_det_jacobian(torch.tensor(1.0)), torch.tensor(2.0))
    near = AffineTransformer(max_log_scale=2.0)(torch.tensor([0.0, 1e-3]))
    torch.testing.assert_close(near.forward_log_det_jacobian(torch.tensor(1.0)), torch.tensor(1e-3))


def test_arguments_are_checked():
    network, affine = MLP(1, 2), AffineTransformer()
    with pytest.raises(ValueError, match="mask of Coupling must keep some entries and change others"):
        Coupling([True, True], network, affine)
    with pytest.raises(ValueError, match="dim of Coupling must be negative"):
        Coupling([True, False], network, affine, dim=0)
    with pytest.raises(TypeError, match="conditioner of Coupling must be an nn.Module, not function"):
        Coupling([True, False], lambda x: x, affine)
    with pytest.raises(TypeError, match="conditioner of Autoregressive must be an nn.Module, not function"):
        Autoregressive(2, lambda x: x, affine)
    with pytest.raises(ValueError, match=r"events of shape \(3,\), but dimension -1 must be of size 2"):
        Coupling([True, False], network, affine)(torch.zeros(3))
    with pytest.raises(ValueError, match=r"maps vectors of 2 entries, but got events of shape \(3,\)"):
        Autoregressive(2, MADE(2, 2), affine)(torch.zeros(3))
    with pytest.raises(ValueError, match=r"gave the shape \(5, 3\) for \(5, 1\), but dimension -1 must be of size 2"):
        Coupling([True, False], MLP(1, 3), affine)(torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"gave the shape \(5, 2, 1\) for \(5, 2\), but must end in \(2, 2\)"):
        Autoregressive(2, MADE(2, 1), affine)(torch.zeros(5, 2))
    assert Autoregressive(2, MADE(2, 1), AdditiveTransformer())(torch.zeros(5, 2)).shape == (5, 2)


@pytest.mark.parametrize("kind", [NICE, RealNVP, NeuralSplineFlow])
def test_couplings_need_two_features(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least 2 features"):
        kind(1)


@pytest.mark.parametrize("kind", [NICE, RealNVP, NeuralSplineFlow, MAF, IAF])
def test_flows_need_a_layer(kind):
    with pytest.raises(ValueError, match=f"num_layers of {kind.__name__} must be at least 1, but is 0"):
        kind(2, num_layers=0)
