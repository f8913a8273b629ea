"""What every Markov kernel is: a transition of many chains at once, over plain tensors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.target import Target
from posterity.infer.potential import Potential
from posterity.infer.simulation import Program
from posterity.kernels import Key, Source

State = TypeVar("State", bound=NamedTuple)
Tuned = TypeVar("Tuned", bound=NamedTuple)


class Tuning(NamedTuple):
    """What is tuned while a kernel warms up, where that is only a step size.

    Attributes:
        step_size: `[num_chains]`.
    """

    step_size: Tensor


class Kernel(ABC, Generic[State, Tuned]):
    """A Markov transition that leaves a target unchanged.

    A state is a NamedTuple of tensors whose first dimension is the chain, among them `position`, `[num_chains, dim]`,
    and `log_density`, `[num_chains]`. What a step does is tensor operations without a look at their values, so that it
    can be captured as one graph; `is_capturable` is False where that is not so.

    Args:
        model: A program whose continuous latent variables are drawn.
        log_density: Instead of a model: a log density of one flat vector.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both, or one that is not callable.
    """

    # Whether a step is one graph of tensor operations, so that it can be captured.
    is_capturable = True

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        init: Strategy = init_to_uniform,
    ) -> None:
        name = type(self).__name__
        if (model is None) == (log_density is None):
            raise TypeError(f"{name}: give either a model or a log_density")
        for what, function in (("model", model), ("log_density", log_density)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}: {what} must be callable, not a {type(function).__name__}")
        self.model, self.log_density, self.start = model, log_density, init

    @abstractmethod
    def init(self, target: Target, position: Tensor) -> State:
        """The state at positions.

        Args:
            target: What to draw from.
            position: `[num_chains, dim]`.
        """

    @abstractmethod
    def step(self, target: Target, state: State, tuning: Tuned, keys: Key) -> tuple[State, Any]:
        """Take a transition.

        Args:
            target: What to draw from.
            state: Where the chains are.
            tuning: Step sizes and the like.
            keys: One random key for each chain, `[num_chains, 2]`, fresh for this transition.

        Returns:
            The new state, and a NamedTuple with what is known of the transition, `[num_chains]` each.
        """

    @abstractmethod
    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> Adaptation:
        """What tunes the kernel in its warm-up.

        Args:
            target: What to draw from, on its own space.
            position: Where the chains start there, `[num_chains, dim]`.
            num_warmup: How many transitions there will be.
            keys: One key for each chain, `[num_chains, 2]`.
        """

    def moved(self, target: Target, state: State, position: Tensor) -> State:
        """The state at other positions, such as the same ones in another metric; what else it holds stays."""
        return self.init(target, position)

    def position(self, state: State) -> Tensor:
        """The points of a state, `[num_chains, dim]`, in whitened space."""
        position: Tensor = state.position  # type: ignore[attr-defined]  # every state has it
        return position

    def extra_draws(self, state: State) -> dict[str, Tensor]:
        """What else is kept of a state, such as values of discrete variables, `[num_chains, ...]`."""
        return {}

    def values(self, potential: Potential, position: Tensor, extra: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draws on a model's own space, by site name, `deterministic` ones too.

        Args:
            potential: The model's log density.
            position: `[*batch, dim]`, on unconstrained space.
            extra: What `extra_draws` gave, `[*batch, ...]`.
        """
        return {**potential.constrain(position, deterministic=potential.has_deterministic), **extra}

    def potential(self, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source) -> Potential:
        """The model's log density with given data, as a target."""
        assert self.model is not None
        return Potential(self.model, args, kwargs, init=self.start, source=source)
