"""Moving and stretching the line: Shift, Scale, and both at once."""

from typing import Any

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import Parameter, batch_shape, log_abs, nonzero_parameter, real_parameter


class Shift(Bijector):
    """y = x + shift.

    Args:
        shift: A number, or a tensor of the batch shape.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Shift
        >>> Shift(2.0)(torch.tensor(1.0))
        tensor(3.)
    """

    domain = codomain = constraints.real
    _increasing = 1

    def __init__(self, shift: Parameter) -> None:
        super().__init__()
        self.shift = real_parameter("Shift", "shift", shift)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `shift`."""
        return batch_shape("Shift", shift=self.shift)

    def _forward(self, x: Tensor) -> Tensor:
        return x + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        return y - self.shift

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x + self.shift)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y + self.shift)


class Scale(Bijector):
    """y = scale * x.

    Args:
        scale: A number, or a tensor of the batch shape; not 0, and negative where the map should decrease.

    Raises:
        ValueError: `scale` is 0 somewhere.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Scale
        >>> Scale(-1.0)(torch.tensor([1.0, 2.0])), Scale(-1.0).sign
        (tensor([-1., -2.]), -1)
    """

    domain = codomain = constraints.real

    def __init__(self, scale: Parameter) -> None:
        super().__init__()
        self.scale = nonzero_parameter("Scale", "scale", scale)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `scale`."""
        return batch_shape("Scale", scale=self.scale)

    @property
    def sign(self) -> Any:
        """The sign of `scale`."""
        return _sign(self.scale)

    def _forward(self, x: Tensor) -> Tensor:
        return x * self.scale

    def _inverse(self, y: Tensor) -> Tensor:
        return y / self.scale

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x) + log_abs(self.scale, x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y) - log_abs(self.scale, y)


class ScalarAffine(Bijector):
    """y = scale * x + shift, elementwise.

    Args:
        scale: A number, or a tensor of the batch shape; not 0.
        shift: A number, or a tensor that broadcasts against `scale`.

    Raises:
        ValueError: `scale` is 0 somewhere, or the shapes do not broadcast.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ScalarAffine
        >>> ScalarAffine(scale=2.0, shift=1.0)(torch.tensor(3.0))
        tensor(7.)
    """

    domain = codomain = constraints.real

    def __init__(self, scale: Parameter = 1.0, shift: Parameter = 0.0) -> None:
        super().__init__()
        self.scale = nonzero_parameter("ScalarAffine", "scale", scale)
        self.shift = real_parameter("ScalarAffine", "shift", shift)
        batch_shape("ScalarAffine", scale=self.scale, shift=self.shift)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape that `scale` and `shift` broadcast to."""
        return batch_shape("ScalarAffine", scale=self.scale, shift=self.shift)

    @property
    def sign(self) -> Any:
        """The sign of `scale`."""
        return _sign(self.scale)

    def _forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.shift) / self.scale

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x + self.shift) + log_abs(self.scale, x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y + self.shift) - log_abs(self.scale, y)


def _sign(scale: Parameter) -> Any:
    return scale.sign() if isinstance(scale, Tensor) else 1 if scale > 0 else -1
