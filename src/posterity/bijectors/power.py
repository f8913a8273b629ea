"""Powers of positive numbers."""

from typing import Any

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import Parameter, batch_shape, log_abs, nonzero_parameter


class Power(Bijector):
    """y = x ** exponent on the positive half line.

    Args:
        exponent: A number, or a tensor of the batch shape; not 0, and negative where the map should decrease.

    Raises:
        ValueError: `exponent` is 0 somewhere.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Power
        >>> Power(2.0)(torch.tensor(3.0)), Power(0.5).inverse(torch.tensor(3.0))
        (tensor(9.), tensor(9.))
    """

    domain = codomain = constraints.positive

    def __init__(self, exponent: Parameter) -> None:
        super().__init__()
        self.exponent = nonzero_parameter("Power", "exponent", exponent)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `exponent`."""
        return batch_shape("Power", exponent=self.exponent)

    @property
    def sign(self) -> Any:
        """The sign of `exponent`."""
        return self.exponent.sign() if isinstance(self.exponent, Tensor) else 1 if self.exponent > 0 else -1

    def _forward(self, x: Tensor) -> Tensor:
        return x**self.exponent

    def _inverse(self, y: Tensor) -> Tensor:
        return y ** (1 / self.exponent)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return log_abs(self.exponent, x) + (self.exponent - 1) * x.log()

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return (1 / self.exponent - 1) * y.log() - log_abs(self.exponent, y)
