"""Maps that change one part of a vector as the other part says."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.module_bijector import ModuleBijector
from posterity.bijectors.transformers import Transformer


class Coupling(ModuleBijector):
    """Entries that are kept, and entries mapped each by a bijector whose parameters are a function of the kept ones.

    One pass through the conditioner in either direction. (Dinh, Krueger and Bengio 2015, "NICE", section 3.)

    Args:
        mask: For each entry along `dim` whether it is kept. There are both kinds.
        conditioner: A module from the kept entries, `[*batch, kept, *rest]` (`rest`: the dimensions right of `dim`),
            and where there is one the context, as a second argument, to `[*batch, changed * P, *rest]`, with the P
            parameters of a feature beside each other.
        transformer: From the parameters of a feature to its bijector; `transformers` says how they look.
        dim: The dimension along which the mask lies, counted from the right; -3 for the channels of images. It and
            those right of it are the event.
        context_features: The size of the context; 0 for none.

    Raises:
        TypeError: `conditioner` is not a module.
        ValueError: The mask is all of one kind, `dim` is not negative, or (on use) a size does not fit.

    Example:
        >>> import torch
        >>> from posterity.bijectors import MLP, AdditiveTransformer, Coupling
        >>> layer = Coupling([True, False, False], MLP(1, 2), AdditiveTransformer())
        >>> layer.inverse(layer(torch.tensor([1.0, 2.0, 3.0]))).tolist()
        [1.0, 2.0, 3.0]
    """

    kept: Tensor
    changed: Tensor
    places: Tensor

    def __init__(
        self,
        mask: Sequence[bool],
        conditioner: nn.Module,
        transformer: Transformer,
        *,
        dim: int = -1,
        context_features: int = 0,
    ) -> None:
        super().__init__()
        mask = tuple(bool(keep) for keep in mask)
        if all(mask) or not any(mask):
            raise ValueError(f"mask of Coupling must keep some entries and change others, but is {mask}.")
        if dim >= 0:
            raise ValueError(f"dim of Coupling must be negative, counted from the right, but is {dim}.")
        if not isinstance(conditioner, nn.Module):
            raise TypeError(f"conditioner of Coupling must be an nn.Module, not {type(conditioner).__name__}.")
        self.mask, self.dim, self.context_features = mask, dim, context_features
        self.conditioner, self.transformer = conditioner, transformer
        self.domain = self.codomain = constraints.independent(constraints.real, -dim)
        kept = [i for i, keep in enumerate(mask) if keep]
        changed = [i for i, keep in enumerate(mask) if not keep]
        places = sorted(range(len(mask)), key=(kept + changed).__getitem__)
        for name, order in (("kept", kept), ("changed", changed), ("places", places)):
            self.register_buffer(name, torch.tensor(order), persistent=False)

    def _at(self, context: Tensor | None) -> Bijector:
        return _CouplingAt(self, context)

    def transform(self, kept: Tensor, changed: Tensor, context: Tensor | None) -> Bijector:
        """The map of the changed entries that the kept ones and the context say.

        Raises:
            ValueError: The conditioner's output is of another size.
        """
        raw = self.conditioner(kept) if context is None else self.conditioner(kept, context)
        number = changed.shape[self.dim]
        expected = number * self.transformer.parameters_per_feature
        if raw.shape != (*changed.shape[: self.dim], expected, *changed.shape[changed.dim() + self.dim + 1 :]):
            raise ValueError(
                f"conditioner of Coupling gave the shape {tuple(raw.shape)} for {tuple(kept.shape)}, but dimension "
                f"{self.dim} must be of size {expected}: {number} features that change, times "
                f"{self.transformer.parameters_per_feature} parameters; the other sizes stay."
            )
        parameters = raw.unflatten(self.dim, (number, -1))
        return self.transformer(parameters if self.dim == -1 else parameters.movedim(self.dim, -1))

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] != len(self.mask):
            raise ValueError(
                f"input of Coupling has events of shape {tuple(shape)}, but dimension {self.dim} must be of size "
                f"{len(self.mask)}, as the mask."
            )
        return shape

    _inverse_event_shape = _forward_event_shape

    def extra_repr(self) -> str:
        """The mask and the transformer."""
        return f"mask={self.mask}, transformer={self.transformer!r}, dim={self.dim}"


class _CouplingAt(Bijector):
    """A coupling layer at a context."""

    def __init__(self, layer: Coupling, context: Tensor | None) -> None:
        super().__init__()
        self.layer, self.context = layer, context
        self.domain = self.codomain = layer.domain

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size() if self.context is None else self.context.shape[:-1]

    def _forward(self, x: Tensor) -> Tensor:
        kept, changed, transform = self._parts(x)
        return self._whole(kept, transform._forward(changed))

    def _inverse(self, y: Tensor) -> Tensor:
        kept, changed, transform = self._parts(y)
        return self._whole(kept, transform._inverse(changed))

    def _forward_log_det(self, x: Tensor) -> Tensor:
        _, changed, transform = self._parts(x)
        return self._summed(transform._forward_log_det(changed))

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        _, changed, transform = self._parts(y)
        return self._summed(transform._inverse_log_det(changed))

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed, transform = self._parts(x)
        y, log_det = transform._forward_and_log_det(changed)
        return self._whole(kept, y), self._summed(log_det)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed, transform = self._parts(y)
        x, log_det = transform._inverse_and_log_det(changed)
        return self._whole(kept, x), self._summed(log_det)

    def _parts(self, value: Tensor) -> tuple[Tensor, Tensor, Bijector]:
        layer = self.layer
        if self.context is not None:
            event = value.dim() + layer.dim
            batch = torch.broadcast_shapes(value.shape[:event], self.context.shape[:-1])
            value = value.expand(*batch, *value.shape[event:])
        kept, changed = value.index_select(layer.dim, layer.kept), value.index_select(layer.dim, layer.changed)
        return kept, changed, layer.transform(kept, changed, self.context)

    def _whole(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([kept, changed], self.layer.dim).index_select(self.layer.dim, self.layer.places)

    def _summed(self, log_det: Tensor) -> Tensor:
        return log_det.flatten(self.layer.dim).sum(-1)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return self.layer._forward_event_shape(shape)

    _inverse_event_shape = _forward_event_shape
