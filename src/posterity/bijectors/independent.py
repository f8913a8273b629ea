"""Batch dimensions of a bijector counted as a part of the event."""

from typing import Any, Self

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class Independent(Bijector):
    """The same map, with the rightmost batch dimensions made part of one event: log-dets are summed over them.

    Args:
        bijector: The bijector that acts on each entry.
        reinterpreted_batch_ndims: How many batch dimensions join the event.

    Raises:
        TypeError: `bijector` is not a Bijector.
        ValueError: `reinterpreted_batch_ndims` is negative.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Exp, Independent
        >>> Independent(Exp(), 1).forward_log_det_jacobian(torch.tensor([1.0, 2.0]))
        tensor(3.)
    """

    def __init__(self, bijector: Bijector, reinterpreted_batch_ndims: int) -> None:
        require_bijectors("Independent", [bijector])
        if reinterpreted_batch_ndims < 0:
            raise ValueError(
                f"reinterpreted_batch_ndims of Independent must not be negative, but is {reinterpreted_batch_ndims}."
            )
        super().__init__()
        self.bijector = bijector
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.domain = _of_rank(bijector.domain, reinterpreted_batch_ndims)
        self.codomain = _of_rank(bijector.codomain, reinterpreted_batch_ndims)

    @property
    def sign(self) -> Any:
        """The sign of the bijector."""
        return self.bijector.sign

    @property
    def batch_shape(self) -> torch.Size:
        """That of the bijector without the dimensions that joined the event."""
        shape = self.bijector.batch_shape
        return shape[: max(len(shape) - self.reinterpreted_batch_ndims, 0)]

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape."""
        self._check_rank("input", shape, self.domain.event_dim)
        result = self.bijector.forward_shape(shape)
        self._check_event("input", shape, self.bijector.domain, result, self.bijector.codomain)
        return result

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape."""
        self._check_rank("output", shape, self.codomain.event_dim)
        result = self.bijector.inverse_shape(shape)
        self._check_event("output", shape, self.bijector.codomain, result, self.bijector.domain)
        return result

    def with_cache(self, cache_size: int = 1) -> Self:
        """The same around the bijector with that cache."""
        return type(self)(self.bijector.with_cache(cache_size), self.reinterpreted_batch_ndims)

    def _check_event(
        self,
        what: str,
        shape: torch.Size,
        source: constraints.Constraint,
        result: torch.Size,
        target: constraints.Constraint,
    ) -> None:
        n = self.reinterpreted_batch_ndims
        before = shape[len(shape) - source.event_dim - n : len(shape) - source.event_dim]
        after = result[len(result) - target.event_dim - n : len(result) - target.event_dim]
        if before != after:
            raise ValueError(
                f"{what} of shape {tuple(shape)} does not fit {self.bijector!r}: its last {n} batch dimensions are a "
                f"part of the event here, and the parameters would broadcast them from {tuple(before)} to "
                f"{tuple(after)}."
            )

    def _forward(self, x: Tensor) -> Tensor:
        return self.bijector._remembered_forward(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.bijector._remembered_inverse(y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._summed(self.bijector._remembered_forward_log_det(x))

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._summed(self.bijector._remembered_inverse_log_det(y))

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return self._summed(self.bijector._log_det(x, y))

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.bijector._remembered_forward_and_log_det(x)
        return y, self._summed(log_det)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.bijector._remembered_inverse_and_log_det(y)
        return x, self._summed(log_det)

    def _summed(self, log_det: Tensor) -> Tensor:
        n = self.reinterpreted_batch_ndims
        return log_det.flatten(-n).sum(-1) if n else log_det


def promoted(bijector: Bijector, rank: int) -> Bijector:
    """The bijector with inputs of event rank `rank`, no less than its own."""
    extra = rank - bijector.domain.event_dim
    return Independent(bijector, extra) if extra else bijector


def require_bijectors(owner: str, bijectors: list[Bijector] | tuple[Bijector, ...]) -> None:
    """Refuses what is not a bijector.

    Raises:
        TypeError: An element is not a Bijector.
    """
    for bijector in bijectors:
        if not isinstance(bijector, Bijector):
            raise TypeError(f"{owner} is made of Bijectors, not of {type(bijector).__name__}.")


def _of_rank(constraint: constraints.Constraint, extra: int) -> constraints.Constraint:
    return constraints.independent(constraint, extra) if extra else constraint
