"""Radial flows: space drawn towards a point or pushed off it."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.scale_matvec import require_length
from posterity.bijectors.softplus import softplus
from posterity.bijectors.trainable import Trainable

MIN_WIDTH = 1e-3


class Radial(Trainable):
    r"""y = x + beta (x - center) / (alpha + |x - center|), with beta > -alpha, so that the map is invertible.

    alpha = softplus(width) + 1e-3 and alpha + beta = softplus(strength) + 1e-3; where width = strength the map is the
    identity, as the flow starts. The inverse is the positive root of a quadratic, in a form without cancellation.
    (Rezende and Mohamed 2015, "Variational Inference with Normalizing Flows", section 4.1 and appendix A.2.)

    Args:
        features: The size of the vectors.
        context_features: The size of the context; 0 for none.
        hidden_features: The widths of the hidden layers of the network that reads the context.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Radial
        >>> flow = Radial(2)
        >>> torch.allclose(flow(torch.ones(2)), torch.ones(2))
        True
    """

    def __init__(self, features: int, context_features: int = 0, hidden_features: tuple[int, ...] = (64, 64)) -> None:
        super().__init__(
            RadialMap,
            context_features=context_features,
            hidden_features=hidden_features,
            center=torch.randn(features),
            width=torch.zeros(()),
            strength=torch.zeros(()),
        )
        self.features = features

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("Radial", shape, self.features)

    _inverse_event_shape = _forward_event_shape


class RadialMap(Bijector):
    """The radial map of given parameters.

    Args:
        center: `[*batch, D]`.
        width: `[*batch]`, unconstrained.
        strength: `[*batch]`, unconstrained.
    """

    domain = codomain = constraints.real_vector

    def __init__(self, center: Tensor, width: Tensor, strength: Tensor) -> None:
        super().__init__()
        self.center, self.width, self.strength = center, width, strength

    @property
    def batch_shape(self) -> torch.Size:
        """The shape that the parameters' batches broadcast to."""
        return torch.Size(torch.broadcast_shapes(self.center.shape[:-1], self.width.shape, self.strength.shape))

    def _forward(self, x: Tensor) -> Tensor:
        alpha, gamma, distance = self._at_distance(x)
        return self.center + (x - self.center) * ((gamma + distance) / (alpha + distance)).unsqueeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        alpha, gamma, distance = self._before(y)
        return self.center + (y - self.center) * ((alpha + distance) / (gamma + distance)).unsqueeze(-1)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return _log_det(*self._at_distance(x), x.shape[-1])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -_log_det(*self._before(y), y.shape[-1])

    def _at_distance(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, alpha + beta, and the distance from the centre."""
        distance = torch.linalg.vector_norm(value - self.center, dim=-1)
        return softplus(self.width) + MIN_WIDTH, softplus(self.strength) + MIN_WIDTH, distance

    def _before(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `_at_distance`, with the distance of the preimage: r^2 + (gamma - r_y) r - alpha r_y = 0."""
        alpha, gamma, after = self._at_distance(y)
        half = (gamma - after) / 2
        root = (half.square() + alpha * after).sqrt()
        near = half > 0
        distance = torch.where(near, alpha * after / (half.abs() + root), half.abs() + root)
        return alpha, gamma, distance

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("RadialMap", shape, self.center.shape[-1])

    _inverse_event_shape = _forward_event_shape


def _log_det(alpha: Tensor, gamma: Tensor, distance: Tensor, features: int) -> Tensor:
    """D - 1 directions are stretched by (gamma + r) / (alpha + r); along the radius the slope is a ratio of squares."""
    across = (gamma + distance).log() - (alpha + distance).log()
    along = (distance * (distance + 2 * alpha) + alpha * gamma).log() - 2 * (alpha + distance).log()
    return (features - 1) * across + along
