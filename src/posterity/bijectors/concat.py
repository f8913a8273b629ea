"""Blocks of a tensor mapped each by its own bijector."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.independent import promoted, require_bijectors


class Concat(Bijector):
    """Neighbouring blocks along one dimension, each mapped by its own bijector.

    As in torch's `CatTransform`, the event rank is the greatest of the parts': where `dim` lies within the event
    (`Concat([Exp(), StickBreaking()], [2, 3])`), log-dets are summed over the blocks; where all parts act on scalars
    they stay side by side, and `Independent(..., 1)` makes a vector one event.

    Args:
        bijectors: One bijector per block.
        lengths: The size of each block of the input along `dim`. A bijector may change it (StickBreaking does).
        dim: The dimension along which the blocks stand. Count it from the right, so that sample dimensions can come.

    Raises:
        TypeError: An element is not a Bijector.
        ValueError: There are not as many lengths as bijectors, or the parts change the rank of events differently.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Concat, Exp, Identity
        >>> Concat([Exp(), Identity()], lengths=[1, 2])(torch.zeros(3))
        tensor([1., 0., 0.])
    """

    def __init__(self, bijectors: Sequence[Bijector], lengths: Sequence[int], dim: int = -1) -> None:
        bijectors, lengths = tuple(bijectors), tuple(lengths)
        require_bijectors("Concat", bijectors)
        if len(bijectors) != len(lengths) or not bijectors:
            raise ValueError(
                f"Concat needs one length per bijector, and at least one, but has {len(bijectors)} bijectors and "
                f"{len(lengths)} lengths."
            )
        super().__init__()
        self.bijectors = bijectors
        self.lengths = lengths
        self.dim = dim
        self._parts = of_one_rank("Concat", bijectors)
        self._output_lengths = tuple(
            _output_length(part, length, dim) for part, length in zip(self._parts, lengths, strict=True)
        )
        self.domain = _Blocks([part.domain for part in self._parts], dim, lengths)
        self.codomain = _Blocks([part.codomain for part in self._parts], dim, self._output_lengths)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape."""
        return self._joined_shape("input", shape, self.domain, self.lengths, inverse=False)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape."""
        return self._joined_shape("output", shape, self.codomain, self._output_lengths, inverse=True)

    def _joined_shape(
        self,
        what: str,
        shape: torch.Size,
        constraint: constraints.Constraint,
        lengths: tuple[int, ...],
        *,
        inverse: bool,
    ) -> torch.Size:
        shape = torch.Size(shape)
        rank = max(constraint.event_dim, -self.dim if self.dim < 0 else self.dim + 1)
        self._check_rank(what, shape, rank)
        dim = negative(self.dim, len(shape)) + len(shape)
        if shape[dim] != sum(lengths):
            raise ValueError(
                f"{what} of Concat has shape {tuple(shape)}, but dimension {self.dim} must be of size {sum(lengths)}, "
                f"the sum of the blocks {lengths}."
            )
        results = []
        for part, length in zip(self._parts, lengths, strict=True):
            block = torch.Size([*shape[:dim], length, *shape[dim + 1 :]])
            results.append(part.inverse_shape(block) if inverse else part.forward_shape(block))
        at = dim - len(shape)
        expected = self.lengths if inverse else self._output_lengths
        joined = _common_shape([_resized(result, at, 1) for result in results])
        if joined is None or any(result[at] != length for result, length in zip(results, expected, strict=True)):
            raise ValueError(
                f"{what} of shape {tuple(shape)} gives Concat blocks that do not fit beside each other along dimension "
                f"{self.dim} with lengths {expected}: {[tuple(result) for result in results]}."
            )
        return _resized(joined, at, sum(expected))

    def _forward(self, x: Tensor) -> Tensor:
        blocks = self._blocks(x, self.lengths)
        return self._join(x, [p._remembered_forward(b) for p, b in zip(self._parts, blocks, strict=True)])

    def _inverse(self, y: Tensor) -> Tensor:
        blocks = self._blocks(y, self._output_lengths)
        return self._join(y, [p._remembered_inverse(b) for p, b in zip(self._parts, blocks, strict=True)])

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._forward_and_log_det(x)[1]

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._inverse_and_log_det(y)[1]

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        xs, ys = self._blocks(x, self.lengths), self._blocks(y, self._output_lengths)
        log_dets = [p._log_det(a, b) for p, a, b in zip(self._parts, xs, ys, strict=True)]
        return self._gathered(x, log_dets, self.domain)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        blocks = self._blocks(x, self.lengths)
        both = [p._remembered_forward_and_log_det(b) for p, b in zip(self._parts, blocks, strict=True)]
        return self._join(x, [y for y, _ in both]), self._gathered(x, [log_det for _, log_det in both], self.domain)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        blocks = self._blocks(y, self._output_lengths)
        both = [p._remembered_inverse_and_log_det(b) for p, b in zip(self._parts, blocks, strict=True)]
        return self._join(y, [x for x, _ in both]), self._gathered(y, [log_det for _, log_det in both], self.codomain)

    def _blocks(self, value: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        blocks: tuple[Tensor, ...] = value.split(list(lengths), negative(self.dim, value.dim()))
        return blocks

    def _join(self, like: Tensor, blocks: list[Tensor]) -> Tensor:
        return _joined(blocks, negative(self.dim, like.dim()))

    def _gathered(self, like: Tensor, log_dets: list[Tensor], constraint: constraints.Constraint) -> Tensor:
        dim = negative(self.dim, like.dim()) + constraint.event_dim
        return _joined(log_dets, dim) if dim < 0 else reduce(torch.add, log_dets)


class _Blocks(constraints.cat):
    """torch's `cat`, with a check that also holds for blocks that are vectors along the dimension they stand on."""

    def __init__(self, cseq: list[constraints.Constraint], dim: int, lengths: tuple[int, ...]) -> None:
        super().__init__(cseq, dim, lengths)  # type: ignore[no-untyped-call]

    def check(self, value: Tensor) -> Tensor:
        blocks = value.split(self.lengths, self.dim)
        checks = [constraint.check(block) for constraint, block in zip(self.cseq, blocks, strict=True)]
        dim = negative(self.dim, value.dim()) + self.event_dim
        return torch.cat(checks, dim) if dim < 0 else reduce(torch.logical_and, checks)


def of_one_rank(owner: str, bijectors: tuple[Bijector, ...]) -> tuple[Bijector, ...]:
    """The bijectors with inputs of one event rank, the greatest of theirs.

    Raises:
        ValueError: Their outputs are of several ranks then.
    """
    rank = max(bijector.domain.event_dim for bijector in bijectors)
    parts = tuple(promoted(bijector, rank) for bijector in bijectors)
    if len({part.codomain.event_dim for part in parts}) > 1:
        raise ValueError(f"{owner} needs parts whose outputs have the same event rank, but got {list(bijectors)}.")
    return parts


def negative(dim: int, ndims: int) -> int:
    """The dimension counted from the right."""
    return dim if dim < 0 else dim - ndims


def _joined(blocks: list[Tensor], dim: int) -> Tensor:
    """The blocks beside each other; those that lack the batch of another's parameters are expanded to it."""
    shapes = [_resized(block.shape, dim, 1) for block in blocks]
    if any(shape != shapes[0] for shape in shapes):
        shape = torch.Size(torch.broadcast_shapes(*shapes))
        blocks = [block.expand(_resized(shape, dim, block.shape[dim])) for block in blocks]
    return torch.cat(blocks, dim)


def _common_shape(shapes: list[torch.Size]) -> torch.Size | None:
    try:
        return torch.Size(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        return None


def _resized(shape: torch.Size, dim: int, size: int) -> torch.Size:
    """`shape` with another size at a dimension counted from the right."""
    at = len(shape) + dim
    return torch.Size([*shape[:at], size, *shape[at + 1 :]])


def _output_length(part: Bijector, length: int, dim: int) -> int:
    rank = part.domain.event_dim
    # Outside the event every bijector keeps the size.
    return length if dim >= 0 or -dim > rank else part.forward_shape(torch.Size([length] * rank))[dim]
