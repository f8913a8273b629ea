"""Planar flows: space pushed along one direction, by a ridge of another."""

import math

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.scale_matvec import require_length
from posterity.bijectors.softplus import softplus
from posterity.bijectors.trainable import Trainable
from posterity.kernels.elementwise import elementwise

MIN_SLOPE = 1e-3
# Enough for slopes from MIN_SLOPE to 1e6 in float64: far out each step adds at least 1/2.
NEWTON_STEPS = 30


class Planar(Trainable):
    r"""y = x + u tanh(w · x + b), with u such that the map is invertible.

    The map is invertible where w · u > -1. The learned direction v gives u = v + (m(w · v) - w · v) w / |w|^2 with
    1 + m(a) = softplus(a + c) + 1e-3, where c makes m(0) = 0: v = 0 is the identity, as the flow starts. The inverse
    solves a + (w · u) tanh(a) = w · y + b, a monotone equation in one variable, by Newton steps that cannot
    overshoot. (Rezende and Mohamed 2015, "Variational Inference with Normalizing Flows", section 4.1 and appendix
    A.1.)

    Args:
        features: The size of the vectors.
        context_features: The size of the context; 0 for none.
        hidden_features: The widths of the hidden layers of the network that reads the context.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Planar
        >>> torch.allclose(Planar(2)(torch.ones(5, 2)), torch.ones(5, 2))
        True
    """

    def __init__(self, features: int, context_features: int = 0, hidden_features: tuple[int, ...] = (64, 64)) -> None:
        super().__init__(
            PlanarMap,
            context_features=context_features,
            hidden_features=hidden_features,
            direction=torch.zeros(features),
            weight=(2 * torch.rand(features) - 1) / math.sqrt(features),
            bias=torch.zeros(()),
        )
        self.features = features

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("Planar", shape, self.features)

    _inverse_event_shape = _forward_event_shape


class PlanarMap(Bijector):
    """The planar map of given parameters.

    Args:
        direction: `[*batch, D]`, v.
        weight: `[*batch, D]`, w.
        bias: `[*batch]`, b.
    """

    domain = codomain = constraints.real_vector

    def __init__(self, direction: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.direction, self.weight, self.bias = direction, weight, bias

    @property
    def batch_shape(self) -> torch.Size:
        """The shape that the parameters' batches broadcast to."""
        return torch.Size(torch.broadcast_shapes(self.direction.shape[:-1], self.weight.shape[:-1], self.bias.shape))

    def _forward(self, x: Tensor) -> Tensor:
        direction, _ = self._pushed()
        return x + direction * self._height(x).tanh().unsqueeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        direction, slope = self._pushed()
        return y - direction * planar_height(self._height(y), slope).tanh().unsqueeze(-1)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return _slope(self._height(x), self._pushed()[1]).log()

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        slope = self._pushed()[1]
        return -_slope(planar_height(self._height(y), slope), slope).log()

    def _height(self, value: Tensor) -> Tensor:
        return (self.weight * value).sum(-1) + self.bias

    def _pushed(self) -> tuple[Tensor, Tensor]:
        """u, and 1 + w · u, the least or greatest slope along w, which is positive."""
        along = (self.weight * self.direction).sum(-1)
        # At 0 both terms make 1.
        slope = MIN_SLOPE + softplus(along + math.log(math.expm1(1 - MIN_SLOPE)))
        norm = self.weight.square().sum(-1).clamp(min=torch.finfo(self.weight.dtype).tiny)
        return self.direction + ((slope - 1 - along) / norm).unsqueeze(-1) * self.weight, slope

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("PlanarMap", shape, self.weight.shape[-1])

    _inverse_event_shape = _forward_event_shape


def _slope(height: Tensor, slope: Tensor) -> Tensor:
    """1 + (slope - 1) / cosh(height)^2, as a sum of positive terms."""
    return height.tanh().square() + slope * _sech_square(height)


def _sech_square(height: Tensor) -> Tensor:
    small = (-2 * height.abs()).exp()
    return 4 * small / (1 + small).square()


@elementwise(
    lambda target, slope, value: 1 / _slope(value, slope),
    lambda target, slope, value: -value.tanh() / _slope(value, slope),
)
def planar_height(target: Tensor, slope: Tensor) -> Tensor:
    """The a with a + (slope - 1) tanh(a) = target, for a positive slope.

    On a > 0 the left side is concave for slope > 1 and convex below, so that Newton's method from the left, and from
    the right, of the solution moves towards it only.
    """
    distance, push = target.abs(), slope - 1
    steep = push > 0
    # tanh(a) lies between 0 and a, and below 1.
    start = torch.where(
        steep, torch.maximum(distance / slope, distance - push), torch.minimum(distance / slope, distance - push)
    )
    height = start
    for _ in range(NEWTON_STEPS):
        height = height - (height + push * height.tanh() - distance) / _slope(height, slope)
        height = height.clamp(min=0.0)
    return torch.copysign(height, target)
