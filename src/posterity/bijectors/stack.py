"""Slices of a tensor mapped each by its own bijector."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.concat import negative, of_one_rank
from posterity.bijectors.independent import require_bijectors


class Stack(Bijector):
    """The slices along one dimension, each mapped by its own bijector.

    Where `dim` stands at the left of the parts' events (scalars and `dim=-1`, vectors and `dim=-2`), or within them,
    it belongs to the event, and log-dets are summed over the slices; farther left it is a batch dimension.

    Args:
        bijectors: One bijector per slice.
        dim: The dimension along which the slices stand. Count it from the right, so that sample dimensions can come.

    Raises:
        TypeError: An element is not a Bijector.
        ValueError: There are no bijectors, or they change the rank of events differently.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Exp, Scale, Stack
        >>> Stack([Exp(), Scale(3.0)])(torch.ones(2))
        tensor([2.7183, 3.0000])
    """

    def __init__(self, bijectors: Sequence[Bijector], dim: int = -1) -> None:
        bijectors = tuple(bijectors)
        require_bijectors("Stack", bijectors)
        if not bijectors:
            raise ValueError("Stack needs at least one bijector.")
        super().__init__()
        self.bijectors = bijectors
        self.dim = dim
        self._parts = of_one_rank("Stack", bijectors)
        self.domain = _Slices([part.domain for part in self._parts], dim)
        self.codomain = _Slices([part.codomain for part in self._parts], dim)
        if _in_event(dim, self._parts[0].domain) != _in_event(dim, self._parts[0].codomain):
            raise ValueError(f"dim {dim} of Stack belongs to the event on one side only: {list(bijectors)}.")

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape."""
        return self._stacked_shape("input", shape, self.domain, inverse=False)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape."""
        return self._stacked_shape("output", shape, self.codomain, inverse=True)

    def _stacked_shape(
        self, what: str, shape: torch.Size, constraint: constraints.Constraint, *, inverse: bool
    ) -> torch.Size:
        shape = torch.Size(shape)
        self._check_rank(what, shape, max(constraint.event_dim, -self.dim if self.dim < 0 else self.dim + 1))
        dim = negative(self.dim, len(shape)) + len(shape)
        if shape[dim] != len(self._parts):
            raise ValueError(
                f"{what} of Stack has shape {tuple(shape)}, but dimension {self.dim} must be of size "
                f"{len(self._parts)}, one slice per bijector."
            )
        one = torch.Size([*shape[:dim], *shape[dim + 1 :]])
        results = [part.inverse_shape(one) if inverse else part.forward_shape(one) for part in self._parts]
        try:
            result = torch.broadcast_shapes(*results)
        except RuntimeError:
            raise ValueError(
                f"{what} of shape {tuple(shape)} gives Stack slices that do not fit above each other: "
                f"{[tuple(result) for result in results]}."
            ) from None
        at = dim if self.dim >= 0 else len(result) + 1 + self.dim
        return torch.Size([*result[:at], len(self._parts), *result[at:]])

    def _forward(self, x: Tensor) -> Tensor:
        return _stacked([p._remembered_forward(s) for p, s in self._paired(x)], self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        return _stacked([p._remembered_inverse(s) for p, s in self._paired(y)], self.dim)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._gathered([p._remembered_forward_log_det(s) for p, s in self._paired(x)], x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._gathered([p._remembered_inverse_log_det(s) for p, s in self._paired(y)], y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        slices = zip(self._parts, x.unbind(self.dim), y.unbind(self.dim), strict=True)
        return self._gathered([p._log_det(a, b) for p, a, b in slices], x)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = [p._remembered_forward_and_log_det(s) for p, s in self._paired(x)]
        return _stacked([y for y, _ in both], self.dim), self._gathered([log_det for _, log_det in both], x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        both = [p._remembered_inverse_and_log_det(s) for p, s in self._paired(y)]
        return _stacked([x for x, _ in both], self.dim), self._gathered([log_det for _, log_det in both], y)

    def _paired(self, value: Tensor) -> list[tuple[Bijector, Tensor]]:
        return list(zip(self._parts, value.unbind(self.dim), strict=True))

    def _gathered(self, log_dets: list[Tensor], like: Tensor) -> Tensor:
        part = self._parts[0].domain
        if _in_event(self.dim, part):
            return reduce(torch.add, log_dets)
        return _stacked(log_dets, negative(self.dim, like.dim()) + part.event_dim)


class _Slices(constraints.stack):
    """torch's `stack`, with an event that ends at the dimension of the slices, and a check of that rank."""

    def __init__(self, cseq: list[constraints.Constraint], dim: int) -> None:
        super().__init__(cseq, dim)  # type: ignore[no-untyped-call]

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        rank: int = self.cseq[0].event_dim
        return rank + 1 if _in_event(self.dim, self.cseq[0]) else rank

    def check(self, value: Tensor) -> Tensor:
        checks = [constraint.check(s) for constraint, s in zip(self.cseq, value.unbind(self.dim), strict=True)]
        if _in_event(self.dim, self.cseq[0]):
            valid: Tensor = reduce(torch.logical_and, checks)
            return valid
        return torch.stack(checks, negative(self.dim, value.dim()) + self.cseq[0].event_dim)


def _stacked(slices: list[Tensor], dim: int) -> Tensor:
    """The slices above each other; those that lack the batch of another's parameters are expanded to it."""
    return torch.stack(torch.broadcast_tensors(*slices), dim)


def _in_event(dim: int, constraint: constraints.Constraint) -> bool:
    return -1 - int(constraint.event_dim) <= dim < 0
