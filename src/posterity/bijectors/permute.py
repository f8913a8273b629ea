"""Another order: of the dimensions of an event, or of the entries along one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector


class Transpose(Bijector):
    """The dimensions of an event in another order: `x.permute(batch dimensions, dims)`.

    Args:
        dims: An order of 0 to n-1, of the last n dimensions; the transposed matrix by default.

    Raises:
        ValueError: `dims` is no such order.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Transpose
        >>> Transpose()(torch.zeros(5, 2, 3)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, dims: Sequence[int] = (1, 0)) -> None:
        super().__init__()
        self.dims = _checked_order("dims of Transpose", dims)
        self.domain = self.codomain = constraints.independent(constraints.real, len(self.dims))

    def _forward(self, x: Tensor) -> Tensor:
        return _permuted(x, self.dims)

    def _inverse(self, y: Tensor) -> Tensor:
        return _permuted(y, _inverse_order(self.dims))

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - len(self.dims)])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._forward_log_det(y)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size([shape[i] for i in self.dims])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size([shape[i] for i in _inverse_order(self.dims)])


class Permute(Bijector):
    """The entries along one dimension in another order: `y[..., i] = x[..., permutation[i]]`.

    Args:
        permutation: An order of 0 to n-1, for n entries.
        dim: The dimension, counted from the right; it and those right of it are the event.

    Raises:
        ValueError: `permutation` is no such order, or `dim` is not negative.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Permute
        >>> Permute([2, 0, 1])(torch.tensor([10.0, 20.0, 30.0]))
        tensor([30., 10., 20.])
    """

    def __init__(self, permutation: Sequence[int], dim: int = -1) -> None:
        super().__init__()
        if dim >= 0:
            raise ValueError(f"dim of Permute must be negative, counted from the right, but is {dim}.")
        self.permutation = _checked_order("permutation of Permute", permutation)
        self.dim = dim
        self.domain = self.codomain = constraints.independent(constraints.real, -dim)

    def _forward(self, x: Tensor) -> Tensor:
        return self._taken(x, self.permutation)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._taken(y, _inverse_order(self.permutation))

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: self.dim])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._forward_log_det(y)

    def _taken(self, value: Tensor, order: tuple[int, ...]) -> Tensor:
        return value.index_select(self.dim, torch.tensor(order, dtype=torch.int64, device=value.device))

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] != len(self.permutation):
            raise ValueError(
                f"input of Permute has events of shape {tuple(shape)}, but dimension {self.dim} must be of size "
                f"{len(self.permutation)}."
            )
        return shape

    _inverse_event_shape = _forward_event_shape


def _checked_order(what: str, order: Sequence[int]) -> tuple[int, ...]:
    order = tuple(int(i) for i in order)
    if not order or sorted(order) != list(range(len(order))):
        raise ValueError(f"{what} must hold each of 0 to n-1 once, but is {order}.")
    return order


def _inverse_order(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _permuted(value: Tensor, dims: tuple[int, ...]) -> Tensor:
    batch = value.dim() - len(dims)
    return value.permute(*range(batch), *(batch + i for i in dims))
