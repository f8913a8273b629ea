"""Bijectors one after another."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from posterity.bijectors.base import Bijector
from posterity.bijectors.independent import promoted, require_bijectors


class Chain(Bijector):
    """Bijectors applied in the order of the list: `Chain([f, g])(x) = g(f(x))`.

    This is the order of torch's `ComposeTransform`, and the reverse of the mathematical g ∘ f. Where the parts act on
    events of different ranks, the smaller ones act on each entry of the larger event. After a map onto a surface
    (simplex, sphere), only maps that keep its volume have the log-det of the chain: permutations, not `Log`.

    Args:
        bijectors: At least one bijector.

    Raises:
        TypeError: An element is not a Bijector.
        ValueError: The list is empty, or an intermediate event cannot have the rank that the next part takes.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Chain, Exp, Scale
        >>> Chain([Scale(2.0), Exp()]).forward_log_det_jacobian(torch.tensor(0.0))
        tensor(0.6931)
    """

    def __init__(self, bijectors: Sequence[Bijector]) -> None:
        bijectors = tuple(bijectors)
        require_bijectors("Chain", bijectors)
        if not bijectors:
            raise ValueError("Chain needs at least one bijector; Identity() is the map that changes nothing.")
        super().__init__()
        self.bijectors = bijectors
        self._parts = _of_fitting_ranks(bijectors)
        self.domain, self.codomain = self._parts[0].domain, self._parts[-1].codomain

    @property
    def sign(self) -> Any:
        """The product of the signs."""
        sign = self.bijectors[0].sign
        for bijector in self.bijectors[1:]:
            sign = sign * bijector.sign
        return sign

    @property
    def batch_shape(self) -> torch.Size:
        """The shape that the parts' batch shapes broadcast to."""
        return torch.Size(torch.broadcast_shapes(*(part.batch_shape for part in self._parts)))

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape."""
        self._check_rank("input", shape, self.domain.event_dim)
        for part in self._parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape."""
        self._check_rank("output", shape, self.codomain.event_dim)
        for part in reversed(self._parts):
            shape = part.inverse_shape(shape)
        return shape

    def with_cache(self, cache_size: int = 1) -> Self:
        """The chain of the same parts, each with that cache."""
        return type(self)([bijector.with_cache(cache_size) for bijector in self.bijectors])

    def _forward(self, x: Tensor) -> Tensor:
        for part in self._parts:
            x = part._remembered_forward(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self._parts):
            y = part._remembered_inverse(y)
        return y

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._forward_and_log_det(x)[1]

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._inverse_and_log_det(y)[1]

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        total: Tensor | None = None
        for part in self._parts[:-1]:
            between = part._remembered_forward(x)
            log_det = part._log_det(x, between)
            total = log_det if total is None else total + log_det
            x = between
        log_det = self._parts[-1]._log_det(x, y)
        return log_det if total is None else total + log_det

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, total = self._parts[0]._remembered_forward_and_log_det(x)
        for part in self._parts[1:]:
            y, log_det = part._remembered_forward_and_log_det(y)
            total = total + log_det
        return y, total

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, total = self._parts[-1]._remembered_inverse_and_log_det(y)
        for part in reversed(self._parts[:-1]):
            x, log_det = part._remembered_inverse_and_log_det(x)
            total = total + log_det
        return x, total


def _of_fitting_ranks(bijectors: tuple[Bijector, ...]) -> tuple[Bijector, ...]:
    gained = [0]
    for bijector in bijectors:
        gained.append(gained[-1] + bijector.codomain.event_dim - bijector.domain.event_dim)
    rank = max(b.domain.event_dim - before for b, before in zip(bijectors, gained, strict=False))
    return tuple(promoted(b, rank + before) for b, before in zip(bijectors, gained, strict=False))
