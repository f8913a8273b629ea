"""The hyperbolic sine, and the family of skewed and heavy-tailed maps made of it."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import Parameter, batch_shape, log_abs, positive_parameter, real_parameter
from posterity.bijectors.softplus import log_cosh


class Sinh(Bijector):
    """y = sinh(x), from the line onto itself.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Sinh
        >>> Sinh().inverse(Sinh()(torch.tensor(80.0)))
        tensor(80.)
    """

    domain = codomain = constraints.real
    _increasing = 1

    def _forward(self, x: Tensor) -> Tensor:
        return torch.sinh(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.asinh(y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return log_cosh(x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -_log_cosh_asinh(y)


class SinhArcsinh(Bijector):
    """y = sinh(tailweight * (asinh(x) + skewness)), from the line onto itself.

    The map of Jones and Pewsey, "Sinh-arcsinh distributions", Biometrika 96 (2009), eq. 1, with the skewness before
    the tail weight. It is the identity at the default parameters.

    Args:
        skewness: A number, or a tensor of the batch shape; positive moves mass to the right.
        tailweight: A positive number, or a tensor that broadcasts against `skewness`; above 1 the tails grow heavier.

    Raises:
        ValueError: `tailweight` is not positive, or the shapes do not broadcast.

    Example:
        >>> import torch
        >>> from posterity.bijectors import SinhArcsinh
        >>> b = SinhArcsinh(skewness=0.5, tailweight=2.0)
        >>> b.inverse(b(torch.tensor(1e8)))
        tensor(1.0000e+08)
    """

    domain = codomain = constraints.real
    _increasing = 1

    def __init__(self, skewness: Parameter = 0.0, tailweight: Parameter = 1.0) -> None:
        super().__init__()
        self.skewness = real_parameter("SinhArcsinh", "skewness", skewness)
        self.tailweight = positive_parameter("SinhArcsinh", "tailweight", tailweight)
        batch_shape("SinhArcsinh", skewness=self.skewness, tailweight=self.tailweight)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape that `skewness` and `tailweight` broadcast to."""
        return batch_shape("SinhArcsinh", skewness=self.skewness, tailweight=self.tailweight)

    def _forward(self, x: Tensor) -> Tensor:
        return torch.sinh(self._bent(x))

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.sinh(self._straight(y))

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return log_abs(self.tailweight, x) + log_cosh(self._bent(x)) - _log_cosh_asinh(x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return log_cosh(self._straight(y)) - _log_cosh_asinh(y) - log_abs(self.tailweight, y)

    def _bent(self, x: Tensor) -> Tensor:
        return self.tailweight * (torch.asinh(x) + self.skewness)

    def _straight(self, y: Tensor) -> Tensor:
        return torch.asinh(y) / self.tailweight - self.skewness


def _log_cosh_asinh(y: Tensor) -> Tensor:
    """log(cosh(asinh(y))) = log(sqrt(1 + y^2)), where y^2 may overflow."""
    return torch.hypot(y, torch.ones_like(y)).log()
