"""What is particular to the Bayesian convolutions; `test_linear` and `test_estimators` hold what layers share."""

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import nn as bnn

KINDS = [bnn.Conv1d, bnn.Conv2d, bnn.Conv3d]


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("estimator", ["reparam", "flipout"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_padding_mode(dims, estimator, padding_mode):
    net = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](2, 3, 3, padding=1, padding_mode=padding_mode)
    layer = KINDS[dims - 1](2, 3, 3, padding=1, padding_mode=padding_mode, estimator=estimator)
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(layer, f"{name}_loc").copy_(getattr(net, name))
            getattr(layer, f"{name}_rho").fill_(-200.0)
    x = torch.randn(2, 2, *(4,) * dims)
    torch.testing.assert_close(layer(x), net(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_image_without_a_batch_is_one_example(dims):
    layer = KINDS[dims - 1](2, 3, 3, estimator="flipout", posterior=bnn.Delta())
    x = torch.randn(2, *(4,) * dims)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_local_does_not_exist(kind):
    with pytest.raises(ValueError, match="estimator='local' does not exist for Conv"):
        kind(1, 2, 3, estimator="local")


def test_a_convolution_with_its_own_arithmetic_has_reparam_only():
    class Standardised(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return super()._conv_forward(x, weight - weight.mean(), bias)

    net = nn.Sequential(Standardised(1, 1, 3))
    with pytest.raises(ValueError, match="'flipout' does not exist for Standardised"):
        pt.bayesianize(net, estimator="flipout")
    # The weights of the one output sum to nothing, whatever was drawn.
    x = torch.ones(1, 1, 3, 3)
    converted = pt.bayesianize(net, include="*.weight")
    torch.testing.assert_close(converted(x), net[0].bias.reshape(1, 1, 1, 1), rtol=1e-4, atol=1e-4)
