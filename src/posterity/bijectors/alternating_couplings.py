"""Coupling layers in turn on the even and on the odd entries of vectors, which stay apart through all layers."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.coupling import Coupling
from posterity.bijectors.flow import Flow


class AlternatingCouplings(Flow):
    """A flow of `Coupling` layers of which the first keeps the even entries, the second the odd ones, and so on.

    It is the chain of its layers; only that entries are not put into their places after each.

    Args:
        layers: At least one layer, with such masks along the last dimension.

    Raises:
        ValueError: A mask is another one.

    Example:
        >>> from posterity.bijectors import MLP, AffineTransformer
        >>> flow = AlternatingCouplings([Coupling([True, False, True], MLP(2, 2), AffineTransformer())])
        >>> flow(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, layers: Sequence[Coupling]) -> None:
        super().__init__(layers)
        for i, layer in enumerate(layers):
            if layer.dim != -1 or any(keep == ((i + j) % 2 == 1) for j, keep in enumerate(layer.mask)):
                raise ValueError(f"layer {i} of AlternatingCouplings must keep every other entry, not {layer.mask}.")

    def condition(self, context: Tensor) -> Bijector:
        """The flow at a context.

        Args:
            context: `[*batch, context_features]`; its batch broadcasts against the input's.

        Raises:
            ValueError: The flow takes no context, or `context` is of another size.
        """
        if not self.context_features or context.dim() < 1 or context.shape[-1] != self.context_features:
            return super().condition(context)  # which refuses it
        return _AlternatingAt(self._layers, context)

    @property
    def _layers(self) -> tuple[Coupling, ...]:
        return cast(tuple[Coupling, ...], self.bijectors)

    @property
    def _is_plain(self) -> bool:
        return not self.context_features and not self.bijectors[0]._cache_size

    def _forward(self, x: Tensor) -> Tensor:
        return _mapped(self._layers, x, None) if self._is_plain else super()._forward(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return _mapped(self._layers, y, None, inverse=True) if self._is_plain else super()._inverse(y)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _mapped_with_log_det(self._layers, x, None) if self._is_plain else super()._forward_and_log_det(x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if not self._is_plain:
            return super()._inverse_and_log_det(y)
        return _mapped_with_log_det(self._layers, y, None, inverse=True)


class _AlternatingAt(Bijector):
    """The same at a context."""

    domain = codomain = constraints.real_vector

    def __init__(self, layers: tuple[Coupling, ...], context: Tensor) -> None:
        super().__init__()
        self.layers, self.context = layers, context

    @property
    def batch_shape(self) -> torch.Size:
        return self.context.shape[:-1]

    def _forward(self, x: Tensor) -> Tensor:
        return _mapped(self.layers, x, self.context)

    def _inverse(self, y: Tensor) -> Tensor:
        return _mapped(self.layers, y, self.context, inverse=True)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._forward_and_log_det(x)[1]

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _mapped_with_log_det(self.layers, x, self.context)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return _mapped_with_log_det(self.layers, y, self.context, inverse=True)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return self.layers[0]._forward_event_shape(shape)

    _inverse_event_shape = _forward_event_shape


def _mapped(layers: Sequence[Coupling], value: Tensor, context: Tensor | None, *, inverse: bool = False) -> Tensor:
    halves = _halves(value, context)
    for i, layer in _in_turn(layers, inverse):
        kept, changed = halves[i % 2], halves[1 - i % 2]
        transform = layer.transform(kept, changed, context)
        halves[1 - i % 2] = transform._inverse(changed) if inverse else transform._forward(changed)
    return _whole(halves)


def _mapped_with_log_det(
    layers: Sequence[Coupling], value: Tensor, context: Tensor | None, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    halves, log_dets = _halves(value, context), []
    for i, layer in _in_turn(layers, inverse):
        kept, changed = halves[i % 2], halves[1 - i % 2]
        transform = layer.transform(kept, changed, context)
        changed, log_det = (
            transform._inverse_and_log_det(changed) if inverse else transform._forward_and_log_det(changed)
        )
        halves[1 - i % 2] = changed
        log_dets.append(log_det)
    return _whole(halves), torch.cat(log_dets, -1).sum(-1)


def _in_turn(layers: Sequence[Coupling], inverse: bool) -> list[tuple[int, Coupling]]:
    return list(enumerate(layers))[:: -1 if inverse else 1]


def _halves(value: Tensor, context: Tensor | None) -> list[Tensor]:
    if context is not None:
        value = value.expand(*torch.broadcast_shapes(value.shape[:-1], context.shape[:-1]), value.shape[-1])
    return [value[..., ::2], value[..., 1::2]]


def _whole(halves: list[Tensor]) -> Tensor:
    even, odd = halves
    pairs = torch.stack([even[..., : odd.shape[-1]], odd], -1).flatten(-2)
    return pairs if even.shape[-1] == odd.shape[-1] else torch.cat([pairs, even[..., -1:]], -1)
