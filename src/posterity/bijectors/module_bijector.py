"""Bijectors that are modules too: with parameters to train, a `state_dict`, and perhaps a context."""

from typing import Any, Protocol, Self, cast

import torch
from torch import Tensor, nn

from posterity.bijectors.base import Bijector
from posterity.bijectors.invert import Invert


class Conditional(Protocol):
    """A family of bijectors, of which a context picks one."""

    @property
    def context_features(self) -> int:
        """The size of the context; 0 for none."""
        ...

    def condition(self, context: Tensor) -> Bijector:
        """The bijector at a context, `[*batch, context_features]`."""
        ...


class ModuleBijector(Bijector, nn.Module):
    """A bijector and an `nn.Module` at once.

    A subclass calls `super().__init__()`, registers its parameters as every module does, and implements `_at(context)`,
    which gives a plain bijector for the present parameters. One that takes a context sets `context_features`; it has
    no map before `condition(context)` says which.

    Called on a tensor it runs `forward` with the module's hooks; `inverse` and the log-dets run without.

    Attributes:
        context_features: The size of the context's last dimension; 0 where there is none.
    """

    context_features: int = 0

    def __call__(self, x: Any) -> Any:
        """`forward(x)` of a tensor; of a distribution, that of the mapped variable."""
        if isinstance(x, torch.distributions.Distribution):
            return Bijector.__call__(self, x)
        return nn.Module.__call__(self, x)

    @property
    def inv(self) -> Bijector:
        """The inverse, as a module with the same parameters; `b.inv.inv is b`."""
        return InvertedModule(self)

    def condition(self, context: Tensor) -> Bijector:
        """The bijector at a context: a plain one, that holds no parameters itself but lets gradients through.

        Args:
            context: `[*batch, context_features]`; its batch broadcasts against the input's.

        Raises:
            ValueError: This bijector takes no context, or `context` is of another size.
        """
        if not self.context_features:
            raise ValueError(f"{type(self).__name__} takes no context: make it with context_features= for that.")
        if context.dim() < 1 or context.shape[-1] != self.context_features:
            raise ValueError(
                f"context of {type(self).__name__} must have the shape [*batch, {self.context_features}], but has "
                f"{tuple(context.shape)}."
            )
        return self._at(context)

    def _at(self, context: Tensor | None) -> Bijector:
        raise NotImplementedError(f"{type(self).__name__} does not say what it is at a context.")

    def _unconditioned(self) -> Bijector:
        if self.context_features:
            raise ValueError(
                f"{type(self).__name__} needs a context of {self.context_features} features: use "
                "condition(context), which is a bijector."
            )
        return self._at(None)

    def _forward(self, x: Tensor) -> Tensor:
        return self._unconditioned()._forward(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._unconditioned()._inverse(y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._unconditioned()._forward_log_det(x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._unconditioned()._inverse_log_det(y)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._unconditioned()._forward_and_log_det(x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._unconditioned()._inverse_and_log_det(y)

    __repr__ = nn.Module.__repr__


class InvertedModule(Invert, nn.Module):
    """The inverse of a bijector that is a module, with the same parameters. `bijector.inv` makes it.

    Args:
        bijector: The bijector to run backwards.

    Raises:
        TypeError: `bijector` is not a Bijector.
    """

    @property
    def context_features(self) -> int:
        """That of the bijector."""
        features: int = getattr(self.bijector, "context_features", 0)
        return features

    def condition(self, context: Tensor) -> Bijector:
        """The inverse of the bijector at a context."""
        return cast(Conditional, self.bijector).condition(context).inv

    def with_cache(self, cache_size: int = 1) -> Self:
        """The inverse of the bijector with that cache."""
        return type(self)(self.bijector.with_cache(cache_size))

    __call__ = ModuleBijector.__call__
    __repr__ = nn.Module.__repr__


def modules_within(bijector: Bijector) -> list[nn.Module]:
    """The modules among a bijector and the parts that it is made of."""
    if isinstance(bijector, nn.Module):
        return [bijector]
    parts = [bijector.bijector] if hasattr(bijector, "bijector") else getattr(bijector, "bijectors", ())
    return [module for part in parts for module in modules_within(part)]
