"""Any bijector with its parameters learned."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from posterity.bijectors.base import Bijector
from posterity.bijectors.mlp import MLP
from posterity.bijectors.module_bijector import ModuleBijector


class Trainable(ModuleBijector):
    """`build(**tensors)` with the tensors as parameters of a module, or as functions of a context.

    With a context, a network's outputs are added to the parameters; it starts at outputs of 0.

    Args:
        build: A bijector's class, or a function that makes one from unconstrained tensors. The event ranks and the
            supports must not depend on them.
        context_features: The size of the context; 0 for none.
        hidden_features: The widths of the network's hidden layers.
        **parameters: The initial tensors, by the names that `build` knows.

    Raises:
        TypeError: `build` does not give a Bijector.
        ValueError: There are no parameters.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ScalarAffine, Trainable
        >>> b = Trainable(lambda log_scale, shift: ScalarAffine(log_scale.exp(), shift),
        ...               log_scale=torch.zeros(3), shift=torch.ones(3))
        >>> [name for name, _ in b.named_parameters()], b(torch.zeros(3)).tolist()
        (['log_scale', 'shift'], [1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        build: Callable[..., Bijector],
        *,
        context_features: int = 0,
        hidden_features: tuple[int, ...] = (64, 64),
        **parameters: Tensor,
    ) -> None:
        super().__init__()
        if not parameters:
            raise ValueError("Trainable needs at least one parameter, given by its name, such as shift=torch.zeros(3).")
        self.build = build
        self.context_features = context_features
        self._names = tuple(parameters)
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))
        made = build(**{name: value.detach() for name, value in parameters.items()})
        if not isinstance(made, Bijector):
            raise TypeError(f"build of Trainable must give a Bijector, not {type(made).__name__}.")
        self.domain, self.codomain = made.domain, made.codomain
        if context_features:
            first = next(iter(parameters.values()))
            outputs = sum(value.numel() for value in parameters.values())
            self.network = MLP(context_features, outputs, hidden_features).to(first)

    @property
    def batch_shape(self) -> torch.Size:
        """That of the bijector with the present parameters."""
        return torch.Size() if self.context_features else self._at(None).batch_shape

    def _at(self, context: Tensor | None) -> Bijector:
        present: dict[str, Tensor] = {name: getattr(self, name) for name in self._names}
        if context is not None:
            moves = self.network(context).split([value.numel() for value in present.values()], -1)
            present = {
                name: value + move.reshape((*context.shape[:-1], *value.shape))
                for (name, value), move in zip(present.items(), moves, strict=True)
            }
        return self.build(**present)
