"""A bijector run backwards."""

from typing import Any, Self

import torch
from torch import Tensor

from posterity.bijectors.base import Bijector


class Invert(Bijector):
    """The inverse of a bijector: forward and inverse exchanged. `bijector.inv` makes it.

    Args:
        bijector: The bijector to run backwards.

    Raises:
        TypeError: `bijector` is not a Bijector.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Exp, Invert
        >>> Invert(Exp())(torch.tensor(1.0))
        tensor(0.)
    """

    def __init__(self, bijector: Bijector) -> None:
        if not isinstance(bijector, Bijector):
            raise TypeError(f"bijector of Invert must be a Bijector, not {type(bijector).__name__}.")
        super().__init__()
        self.bijector = bijector
        self.domain, self.codomain = bijector.codomain, bijector.domain

    @property
    def inv(self) -> Bijector:
        """The bijector itself."""
        return self.bijector

    @property
    def sign(self) -> Any:
        """The sign of the bijector: inverting keeps it."""
        return self.bijector.sign

    @property
    def batch_shape(self) -> torch.Size:
        """That of the bijector."""
        return self.bijector.batch_shape

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape."""
        return self.bijector.inverse_shape(shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape."""
        return self.bijector.forward_shape(shape)

    def with_cache(self, cache_size: int = 1) -> Self:
        """The inverse of the bijector with that cache."""
        return type(self)(self.bijector.with_cache(cache_size))

    def _forward(self, x: Tensor) -> Tensor:
        return self.bijector._remembered_inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.bijector._remembered_forward(y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self.bijector._remembered_inverse_log_det(x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self.bijector._remembered_forward_log_det(y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.bijector._log_det(y, x)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijector._remembered_inverse_and_log_det(x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijector._remembered_forward_and_log_det(y)
