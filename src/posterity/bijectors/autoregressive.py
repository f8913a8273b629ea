"""Maps of vectors, entry by entry, as the entries before say."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.made import MADE
from posterity.bijectors.module_bijector import ModuleBijector
from posterity.bijectors.transformers import Transformer


class Autoregressive(ModuleBijector):
    """Each entry mapped by a bijector whose parameters are a function of the entries of x before it.

    `forward` is one pass through the conditioner. `inverse` goes from feature to feature: with a `MADE` all of them
    together are the work of one pass, with another conditioner of as many passes. `.inv` has the prices exchanged.
    (Papamakarios, Pavlakou and Murray 2017, "Masked Autoregressive Flow for Density Estimation", section 3.1.)

    Args:
        features: D, the number of entries.
        conditioner: A module from `[*batch, D]`, and where there is one the context, as a second argument, to
            `[*batch, D, P]`, of which row i depends on entries before feature i only. Its attribute `order`, as
            `MADE` has it, says the place of each feature; without it the order is the natural one.
        transformer: From the parameters of a feature to its bijector.
        context_features: The size of the context; 0 for none.

    Raises:
        TypeError: `conditioner` is not a module.
        ValueError: (on use) a size does not fit.

    Example:
        >>> import torch
        >>> from posterity.bijectors import MADE, Autoregressive, SplineTransformer
        >>> transformer = SplineTransformer(num_bins=4)
        >>> layer = Autoregressive(2, MADE(2, transformer.parameters_per_feature), transformer)
        >>> torch.allclose(layer(torch.ones(5, 2)), torch.ones(5, 2))
        True
    """

    domain = codomain = constraints.real_vector
    order: Tensor

    def __init__(
        self, features: int, conditioner: nn.Module, transformer: Transformer, *, context_features: int = 0
    ) -> None:
        super().__init__()
        if not isinstance(conditioner, nn.Module):
            raise TypeError(f"conditioner of Autoregressive must be an nn.Module, not {type(conditioner).__name__}.")
        self.features, self.context_features = features, context_features
        self.conditioner, self.transformer = conditioner, transformer
        order: Any = getattr(conditioner, "order", None)
        order = torch.arange(features) if order is None else torch.as_tensor(order).clone()
        self.register_buffer("order", order, persistent=False)

    def _at(self, context: Tensor | None) -> Bijector:
        return _AutoregressiveAt(self, context)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] != self.features:
            raise ValueError(
                f"Autoregressive maps vectors of {self.features} entries, but got events of shape {tuple(shape)}."
            )
        return shape

    _inverse_event_shape = _forward_event_shape

    def extra_repr(self) -> str:
        """The size and the transformer."""
        return f"features={self.features}, transformer={self.transformer!r}"


class _AutoregressiveAt(Bijector):
    """An autoregressive layer at a context."""

    domain = codomain = constraints.real_vector

    def __init__(self, layer: Autoregressive, context: Tensor | None) -> None:
        super().__init__()
        self.layer, self.context = layer, context

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size() if self.context is None else self.context.shape[:-1]

    def _forward(self, x: Tensor) -> Tensor:
        return self._transform(x)._forward(x)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._transform(x)._forward_log_det(x).sum(-1)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self._transform(x)._forward_and_log_det(x)
        return y, log_det.sum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        if isinstance(self.layer.conditioner, MADE):
            return self._one_by_one(y, with_log_det=False)[0]
        x = torch.zeros_like(y)
        # Only what is known already enters the next pass: a value from unfinished parameters could overflow, and
        # times a masked weight of 0 it would be NaN.
        for place in range(self.layer.features):
            x = torch.where(self.layer.order == place, self._transform(x)._inverse(y), x)
        return x

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._inverse_and_log_det(y)[1]

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.layer.conditioner, MADE):
            return self._one_by_one(y, with_log_det=True)
        x = log_dets = torch.zeros_like(y)
        for place in range(self.layer.features):
            known, at_place = self._transform(x)._inverse_and_log_det(y)
            now = self.layer.order == place
            x, log_dets = torch.where(now, known, x), torch.where(now, at_place, log_dets)
        return x, log_dets.sum(-1)

    def _one_by_one(self, y: Tensor, *, with_log_det: bool) -> tuple[Tensor, Tensor]:
        """Both in one pass of the conditioner; the log-dets are those of y's batch, or zeros."""
        made, context, features = cast(MADE, self.layer.conditioner), self.context, self.layer.features
        batch = y.shape[:-1]
        if context is not None:
            batch = torch.broadcast_shapes(batch, context.shape[:-1])
            context = context.expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
        columns = y.expand(*batch, features).reshape(-1, features).unbind(-1)
        run = made.one_by_one(len(columns[0]), context)
        found = list(columns)
        log_dets = []
        for feature in run.order:
            transform = self.layer.transformer(run.outputs())
            if with_log_det:
                found[feature], log_det = transform._inverse_and_log_det(columns[feature])
                log_dets.append(log_det)
            else:
                found[feature] = transform._inverse(columns[feature])
            run.add(found[feature])
        x = torch.stack(found, -1).reshape(*batch, features)
        return x, torch.stack(log_dets, -1).sum(-1).reshape(batch) if with_log_det else x.new_zeros(())

    def _transform(self, x: Tensor) -> Bijector:
        layer = self.layer
        raw = layer.conditioner(x) if self.context is None else layer.conditioner(x, self.context)
        expected = (layer.features, layer.transformer.parameters_per_feature)
        if raw.shape[-2:] != expected:
            raise ValueError(
                f"conditioner of Autoregressive gave the shape {tuple(raw.shape)} for {tuple(x.shape)}, but must end "
                f"in {expected}: the features, and {expected[1]} parameters for each."
            )
        return layer.transformer(raw)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return self.layer._forward_event_shape(shape)

    _inverse_event_shape = _forward_event_shape
