"""A smooth ramp onto the positive half line that is linear for large inputs."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import Parameter, batch_shape, positive_parameter


class Softplus(Bijector):
    """y = log(1 + exp(sharpness * x)) / sharpness, from the line onto the positive half line.

    Args:
        sharpness: A positive number, or a tensor of the batch shape: how quickly the ramp bends at 0.

    Raises:
        ValueError: `sharpness` is not positive.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Softplus
        >>> b = Softplus()
        >>> b.inverse(b(torch.tensor([-80.0, 80.0])))
        tensor([-80.,  80.])
    """

    domain = constraints.real
    codomain = constraints.positive
    _increasing = 1

    def __init__(self, sharpness: Parameter = 1.0) -> None:
        super().__init__()
        self.sharpness = positive_parameter("Softplus", "sharpness", sharpness)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `sharpness`."""
        return batch_shape("Softplus", sharpness=self.sharpness)

    def _forward(self, x: Tensor) -> Tensor:
        return softplus(self.sharpness * x) / self.sharpness

    def _inverse(self, y: Tensor) -> Tensor:
        return y + log1mexp(self.sharpness * y) / self.sharpness

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return -softplus(-self.sharpness * x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -log1mexp(self.sharpness * y)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) to rounding in float64 too: torch's default turns linear at 20, where 2e-9 is missing."""
    return F.softplus(x, threshold=40.0)


def log1mexp(t: Tensor) -> Tensor:
    """log(1 - exp(-t)) for t > 0 (Mächler 2012, "Accurately computing log(1 - exp(-|a|))", eq. 7)."""
    small = t < math.log(2)
    return torch.where(small, torch.log(-torch.expm1(-t)), torch.log1p(-torch.exp(-torch.where(small, 1.0, t))))


def log_cosh(x: Tensor) -> Tensor:
    """log(cosh(x)) without overflow."""
    return x + softplus(-2 * x) - math.log(2)
