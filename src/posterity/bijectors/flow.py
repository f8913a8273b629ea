"""A chain of bijectors that is a module: what they learn is its own."""

from collections.abc import Sequence
from typing import Self, cast

from torch import Tensor, nn

from posterity.bijectors.base import Bijector
from posterity.bijectors.chain import Chain
from posterity.bijectors.invert import Invert
from posterity.bijectors.module_bijector import Conditional, InvertedModule, ModuleBijector, modules_within


class Flow(Chain, nn.Module):
    """Bijectors applied in the order of the list, as a `Chain`, with the parameters of its parts as its own.

    Parts need not be modules; plain bijectors made from tensors keep those where they are (`Trainable` makes modules
    of such). Called on a base distribution, it is a normalizing flow: `flow(base).log_prob(data)`.

    Args:
        bijectors: At least one bijector.

    Raises:
        TypeError: An element is not a Bijector.
        ValueError: The list is empty, the ranks of events do not fit, or parts take contexts of different sizes.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ActNorm, Flow, RealNVP
        >>> flow = Flow([RealNVP(2), ActNorm(2)])
        >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
        >>> flow.eval()(base).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, bijectors: Sequence[Bijector]) -> None:
        super().__init__(bijectors)
        self._register(self.bijectors)

    def _register(self, bijectors: Sequence[Bijector]) -> None:
        for i, bijector in enumerate(bijectors):
            modules = modules_within(bijector)
            if modules:
                self.add_module(str(i), bijector if isinstance(bijector, nn.Module) else nn.ModuleList(modules))
        sizes = {getattr(b, "context_features", 0) for b in map(_innermost, bijectors)} - {0}
        if len(sizes) > 1:
            raise ValueError(f"parts of a Flow must take contexts of one size, but take {sorted(sizes)}.")
        self.context_features = max(sizes, default=0)

    @property
    def inv(self) -> Bijector:
        """The inverse, as a module with the same parameters; `b.inv.inv is b`."""
        return InvertedModule(self)

    def condition(self, context: Tensor) -> Bijector:
        """The chain with every part that takes a context at this one; parts that take none stay.

        Args:
            context: `[*batch, context_features]`; its batch broadcasts against the input's.

        Raises:
            ValueError: No part takes a context, or `context` is of another size.
        """
        if not self.context_features:
            raise ValueError(f"{type(self).__name__} takes no context: make its parts with context_features=.")
        return Chain([_conditioned(bijector, context) for bijector in self.bijectors])

    def with_cache(self, cache_size: int = 1) -> Self:
        """The flow of the same parts, each with that cache; parameters are shared."""
        new = type(self).__new__(type(self))
        Flow.__init__(new, [bijector.with_cache(cache_size) for bijector in self.bijectors])
        new.training = self.training
        return new

    __call__ = ModuleBijector.__call__
    __repr__ = nn.Module.__repr__


def _innermost(bijector: Bijector) -> Bijector:
    return _innermost(bijector.bijector) if type(bijector) is Invert else bijector


def _conditioned(bijector: Bijector, context: Tensor) -> Bijector:
    if type(bijector) is Invert:
        return _conditioned(bijector.bijector, context).inv
    return cast(Conditional, bijector).condition(context) if getattr(bijector, "context_features", 0) else bijector
