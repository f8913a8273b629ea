"""The elementwise maps of coupling and autoregressive flows: from raw parameters to a bijector.

A transformer is a callable with `parameters_per_feature`, P; it takes `[*batch, P]` unconstrained numbers and gives an
increasing bijector of the line with that batch shape. Parameters of 0 give the identity.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.affine import Shift
from posterity.bijectors.base import Bijector
from posterity.bijectors.rational_quadratic_spline import bounded_spline

RAW_BOUND = 5.0


class Transformer(Protocol):
    """What `Coupling` and `Autoregressive` ask of a transformer."""

    @property
    def parameters_per_feature(self) -> int:
        """How many numbers a feature's map takes."""
        ...

    def __call__(self, parameters: Tensor) -> Bijector:
        """The bijector of raw parameters `[*batch, parameters_per_feature]`."""
        ...


@dataclass(frozen=True)
class AdditiveTransformer:
    """y = x + shift, which keeps the volume.

    (Dinh, Krueger and Bengio 2015, "NICE", section 3.2.)

    Example:
        >>> import torch
        >>> from posterity.bijectors import AdditiveTransformer
        >>> AdditiveTransformer()(torch.tensor([3.0]))(torch.tensor(1.0))
        tensor(4.)
    """

    parameters_per_feature = 1

    def __call__(self, parameters: Tensor) -> Bijector:
        """The bijector of `[*batch, 1]` parameters."""
        return Shift(parameters[..., 0])


@dataclass(frozen=True)
class AffineTransformer:
    """y = exp(s) x + shift, with |s| < max_log_scale.

    s = c arctan(raw / c) with c = 2 max_log_scale / pi, which is about the raw number where that is small. The scales
    of a flow's layers multiply: five of exp(5) stretch by 10^10, and then one step of training that goes too far is
    the last. Data should be standardised, so that no more is needed than the bound allows. (The map of Dinh,
    Sohl-Dickstein and Bengio 2017, "Real NVP", eq. 7; the bound of Ardizzone et al. 2019, "Guided Image Generation
    with Conditional Invertible Neural Networks".)

    Attributes:
        max_log_scale: The bound on s.

    Example:
        >>> import torch
        >>> from posterity.bijectors import AffineTransformer
        >>> AffineTransformer()(torch.tensor([3.0, 0.0]))(torch.tensor(1.0))
        tensor(4.)
    """

    max_log_scale: float = 2.0
    parameters_per_feature = 2

    def __call__(self, parameters: Tensor) -> Bijector:
        """The bijector of `[*batch, 2]` parameters, the shift and the raw logarithm of the scale."""
        shift, raw = parameters.unbind(-1)
        bend = 2 * self.max_log_scale / math.pi
        return _LogScaleAffine(shift, bend * (raw / bend).atan())


@dataclass(frozen=True)
class SplineTransformer:
    """A `RationalQuadraticSpline` on [-bound, bound]: data should be standardised to lie there.

    Raw parameters are bent into (-5, 5), by raw / (1 + |raw| / 5), so that no slope becomes so small that float32
    cannot invert it.

    Attributes:
        num_bins: How many bins a spline has.
        bound: Where the spline ends and the identity begins.

    Example:
        >>> import torch
        >>> from posterity.bijectors import SplineTransformer
        >>> transformer = SplineTransformer(num_bins=4)
        >>> transformer(torch.zeros(transformer.parameters_per_feature))(torch.tensor(1.0))
        tensor(1.)
    """

    num_bins: int = 8
    bound: float = 5.0

    @property
    def parameters_per_feature(self) -> int:
        """3 num_bins - 1: widths, heights and the slopes between."""
        return 3 * self.num_bins - 1

    def __call__(self, parameters: Tensor) -> Bijector:
        """The bijector of `[*batch, 3 num_bins - 1]` parameters: widths, heights and slopes."""
        return bounded_spline(parameters / (1 + parameters.abs() / RAW_BOUND), self.num_bins, self.bound)


class _LogScaleAffine(Bijector):
    """y = exp(log_scale) x + shift."""

    domain = codomain = constraints.real
    _increasing = 1

    def __init__(self, shift: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.shift, self.log_scale = shift, log_scale

    @property
    def batch_shape(self) -> torch.Size:
        return self.shift.shape

    def _forward(self, x: Tensor) -> Tensor:
        return self.log_scale.exp() * x + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.shift) * (-self.log_scale).exp()

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return _as_wide(self.log_scale, x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return _as_wide(-self.log_scale, y)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.addcmul(self.shift, self.log_scale.exp(), x), _as_wide(self.log_scale, x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        log_det = -self.log_scale
        return (y - self.shift) * log_det.exp(), _as_wide(log_det, y)


def _as_wide(value: Tensor, other: Tensor) -> Tensor:
    if value.shape == other.shape:
        return value
    return value.expand(torch.broadcast_shapes(value.shape, other.shape))
