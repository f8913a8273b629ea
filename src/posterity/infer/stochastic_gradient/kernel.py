"""What every stochastic-gradient kernel is: a transition of many chains at once, over plain tensors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.simulation import Program
from posterity.infer.stochastic_gradient.schedules import Schedule, constant

# From positions to estimates of the gradient there, all of them on the same minibatches.
Gradient = Callable[[Tensor], Tensor]
# A NamedTuple of tensors whose first one is `position`.
State = TypeVar("State", bound=tuple[Tensor, ...])


class StochasticGradientKernel(ABC, Generic[State]):
    """A transition that keeps a posterior, up to a bias that falls with the step size, and needs no accept step.

    A state is a NamedTuple of tensors whose first dimension is the chain, among them `position`, `[num_chains, dim]`.
    All the randomness of a step is given to it, and nothing in it looks at values, so that a step can be one graph.

    `step_size` means the same in all kernels: the estimate of the gradient of the *whole* log posterior (all data, not
    the mean over the minibatch) is multiplied by it, and the injected noise has variance `2 * step_size * temperature`
    where there is no momentum. Welling and Teh (2011) and Li et al. (2016) call twice this number the step size.

    Args:
        model: A program; None for a loop of one's own.
        step_size: A number, or a schedule (a function of the step's number).
        temperature: The posterior's density is raised to its inverse: 1 is the posterior, 0 leaves the noise away. A
            number, or a schedule.
        init: Where chains start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: The model is not callable, or an argument is neither a number nor a function.
        ValueError: The step size is not positive, or the temperature negative.
    """

    # How many standard normal numbers a step takes for each coordinate.
    num_noises: int = 1

    def __init__(
        self,
        model: Program | None = None,
        *,
        step_size: float | Schedule,
        temperature: float | Schedule = 1.0,
        init: Strategy = init_to_uniform,
    ) -> None:
        if model is not None and not callable(model):
            raise TypeError(f"{type(self).__name__}: model must be callable, not a {type(model).__name__}")
        self.model, self.start = model, init
        self._step_size = self._scheduled("step_size", step_size)
        self._temperature = self._scheduled("temperature", temperature)

    def step_size(self, step: int) -> float:
        """The step size of a step.

        Raises:
            ValueError: The schedule's number is not positive and finite.
        """
        size = self._step_size(step)
        if not (math.isfinite(size) and size > 0):
            raise ValueError(f"{type(self).__name__}: step_size must be positive, but is {size} at step {step}")
        return size

    def temperature(self, step: int) -> float:
        """The temperature of a step.

        Raises:
            ValueError: The schedule's number is negative or not finite.
        """
        temperature = self._temperature(step)
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(
                f"{type(self).__name__}: temperature must not be negative, but is {temperature} at step {step}"
            )
        return temperature

    def keeps(self, step: int) -> bool:
        """Whether the position after a step may be kept as a draw."""
        return True

    @abstractmethod
    def init(self, position: Tensor) -> State:
        """The state at positions, `[num_chains, dim]`, at rest where there is a momentum."""

    @abstractmethod
    def step(
        self,
        state: State,
        gradient: Gradient,
        noise: Tensor,
        step_size: float | Tensor,
        temperature: float | Tensor = 1.0,
    ) -> tuple[State, Any]:
        """Take a transition.

        Args:
            state: Where the chains are.
            gradient: Gives unbiased estimates of the gradient of the log posterior at positions, `[num_chains, dim]`.
            noise: Standard normal numbers, `[num_chains, num_noises, dim]`.
            step_size: The step size of this step.
            temperature: The temperature of this step.

        Returns:
            The new state, and a NamedTuple with what is known of the transition: scalars, or `[num_chains]` each.
        """

    def _scheduled(self, name: str, value: float | Schedule) -> Schedule:
        if callable(value):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(
                f"{type(self).__name__}: {name} must be a number or a function of the step's number, not a "
                f"{type(value).__name__}"
            )
        bound = "positive" if name == "step_size" else "at least 0"
        if not math.isfinite(value) or value < 0 or (value == 0 and name == "step_size"):
            raise ValueError(f"{type(self).__name__}: {name} must be {bound}, not {value}")
        return constant(float(value))


def check_share(kernel: object, name: str, value: float, *, least: float = 0.0, open_end: bool = False) -> None:
    """Refuse a setting of a kernel that must lie above `least` and not above 1 (below 1 where the end is open).

    Raises:
        ValueError: Naming it.
    """
    if not least < value <= 1 or (open_end and value == 1):
        raise ValueError(
            f"{type(kernel).__name__}: {name} must lie above {least:g} and {'below' if open_end else 'not above'} 1, "
            f"not {value}"
        )
