"""From vectors onto the unit sphere of one more dimension."""

import math

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class UnitVector(Bijector):
    """Stereographic projection from R^(n-1) onto the unit sphere in R^n, which it covers but for the pole (0, ..., 1).

    y = (2x, |x|^2 - 1) / (|x|^2 + 1). The map is conformal, and its log-det is the logarithm of the surface element,
    (n - 1) log(2 / (|x|^2 + 1)): densities on the sphere are with respect to its area (Lee, *Introduction to
    Riemannian Manifolds*, 2018, ch. 3). The pole itself, which has probability 0, has a finite log-det, and its
    inverse is 0.

    Example:
        >>> import torch
        >>> from posterity.bijectors import UnitVector
        >>> UnitVector()(torch.tensor([1.0, 0.0]))
        tensor([1., 0., 0.])
    """

    domain = constraints.real_vector
    codomain = constraints.sphere

    def _forward(self, x: Tensor) -> Tensor:
        unit, size, squared, one = _scaled(x)
        return torch.cat([2 * unit / size, squared - one], -1) / (squared + one)

    def _inverse(self, y: Tensor) -> Tensor:
        head, last = y[..., :-1], y[..., -1:]
        # 1 - last cancels near the pole, where it is |head|^2 / (1 + last).
        low = last < 0
        squared = _positive(head.square().sum(-1, keepdim=True))
        # The branch that is not taken at either pole must have a finite derivative too.
        return torch.where(low, head / (1 - torch.where(low, last, 0.0)), head * (1 + last) / squared)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        _, size, squared, one = _scaled(x)
        return x.shape[-1] * (math.log(2) - 2 * size.log() - (squared + one).log()).squeeze(-1)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        head, last = y[..., :-1], y[..., -1]
        low = last < 0
        near = torch.log1p(-torch.where(low, last, 0.0))
        far = _positive(head.square().sum(-1)).log() - torch.log1p(torch.where(low, 0.0, last))
        return -head.shape[-1] * torch.where(low, near, far)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size([shape[0] + 1])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] < 2:
            raise ValueError(f"output of UnitVector must have at least two entries, but its events are {tuple(shape)}.")
        return torch.Size([shape[0] - 1])


def _scaled(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`x / size`, `size`, |x|^2 / size^2 and 1 / size^2 for a size that keeps the squares from overflow.

    The results built of these do not depend on the size, which therefore needs no gradient.
    """
    size = x.detach().abs().amax(-1, keepdim=True).clamp(min=1.0)
    unit = x / size
    return unit, size, unit.square().sum(-1, keepdim=True), size.reciprocal().square()


def _positive(value: Tensor) -> Tensor:
    return value.clamp(min=torch.finfo(value.dtype).tiny)
