"""Every bijector that is a module, with random parameters and inputs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posterity import bijectors as pb

HIDDEN = (5,)


@dataclass(frozen=True)
class FlowCase:
    """A bijector with parameters to train.

    Attributes:
        name: What the tests call it.
        build: Makes the module; given `context_features` where it can take them.
        event_shape: The shape of one event.
        conditional: Whether `build` takes `context_features`.
        starts_as_identity: Whether an untrained one is the identity.
    """

    name: str
    build: Callable[..., pb.Bijector]
    event_shape: tuple[int, ...] = (3,)
    conditional: bool = False
    starts_as_identity: bool = True

    def module(self, dtype: torch.dtype = torch.float64, **options: int) -> pb.Bijector:
        """One with random parameters, the same at each call, in eval mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.build(**options)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.3 * torch.randn(parameter.shape))
        return module.eval().to(dtype)

    def inputs(self, number: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
        stream = torch.Generator().manual_seed(1)
        return torch.randn((number, *self.event_shape), dtype=torch.float64, generator=stream).to(dtype)


class ChannelConditioner(nn.Module):
    """For coupling along the channels: a 1x1 convolution of any batch."""

    def __init__(self, kept: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, kept))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("oc,...chw->...ohw", self.weight, x).tanh()


def _image_coupling() -> pb.Bijector:
    conditioner = ChannelConditioner(2, 2)
    return pb.Coupling([True, False, True], conditioner, pb.AffineTransformer(), dim=-3)


def _spline_maf(context_features: int = 0) -> pb.Bijector:
    return pb.MAF(3, 1, HIDDEN, context_features, pb.SplineTransformer(num_bins=3))


def _autoregressive(context_features: int = 0) -> pb.Bijector:
    conditioner = pb.MADE(3, 2, (7, 6), context_features, order=(1, 2, 0))
    return pb.Autoregressive(3, conditioner, pb.AffineTransformer(), context_features=context_features)


def _coupling(context_features: int = 0) -> pb.Bijector:
    transformer = pb.SplineTransformer(num_bins=4, bound=3.0)
    conditioner = pb.MLP(1, 2 * transformer.parameters_per_feature, HIDDEN, context_features)
    return pb.Coupling([False, True, False], conditioner, transformer, context_features=context_features)


def _mixed(context_features: int = 0) -> pb.Bijector:
    coupling = pb.RealNVP(3, 1, HIDDEN, context_features)
    autoregressive = pb.Invert(_autoregressive(context_features))
    return pb.Flow([pb.ActNorm(3), coupling, pb.Permute([2, 0, 1]), autoregressive, pb.SinhArcsinh(tailweight=1.2)])


def _trainable_spline(context_features: int = 0) -> pb.Bijector:
    tables = {"widths": torch.zeros(3, 4), "heights": torch.zeros(3, 4), "slopes": torch.zeros(3, 3)}
    return pb.Trainable(independent_spline, context_features=context_features, hidden_features=HIDDEN, **tables)


def independent_spline(**tables: Tensor) -> pb.Bijector:
    return pb.Independent(pb.RationalQuadraticSpline(**tables), 1)


FLOWS = [
    FlowCase("real_nvp", lambda **c: pb.RealNVP(3, 2, HIDDEN, **c), conditional=True),
    FlowCase("nice", lambda **c: pb.NICE(3, 2, HIDDEN, **c), conditional=True),
    FlowCase("neural_spline_flow", lambda **c: pb.NeuralSplineFlow(3, 2, HIDDEN, num_bins=4, **c), conditional=True),
    FlowCase("coupling", _coupling, conditional=True),
    FlowCase("coupling_of_channels", _image_coupling, (3, 2, 2)),
    FlowCase("maf", lambda **c: pb.MAF(3, 2, HIDDEN, **c), conditional=True),
    FlowCase("maf_of_splines", _spline_maf, conditional=True),
    FlowCase("iaf", lambda **c: pb.IAF(3, 2, HIDDEN, **c), conditional=True),
    FlowCase("autoregressive", _autoregressive, conditional=True),
    FlowCase("planar", lambda **c: pb.Planar(3, hidden_features=HIDDEN, **c), conditional=True),
    FlowCase("radial", lambda **c: pb.Radial(3, hidden_features=HIDDEN, **c), conditional=True),
    FlowCase("act_norm", lambda: pb.ActNorm(3)),
    FlowCase("act_norm_of_channels", lambda: pb.ActNorm(2, dim=-3), (2, 2, 2)),
    FlowCase("invertible_conv", lambda: pb.InvertibleConv1x1(3), (3, 2, 2), starts_as_identity=False),
    FlowCase("invertible_conv_of_vectors", lambda: pb.InvertibleConv1x1(3, dim=-1), starts_as_identity=False),
    FlowCase("trainable", _trainable_spline, conditional=True),
    FlowCase("inverted", lambda **c: pb.RealNVP(3, 2, HIDDEN, **c).inv, conditional=True),
    FlowCase("flow", _mixed, conditional=True, starts_as_identity=False),
]
