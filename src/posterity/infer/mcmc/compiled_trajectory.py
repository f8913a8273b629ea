"""Transitions whose number of integrator steps is known only as they run, out of compiled graphs."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.capture import capture
from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.target import Target
from posterity.kernels import Key

State = TypeVar("State", bound=NamedTuple)
Tuned = TypeVar("Tuned", bound=NamedTuple)
Info = TypeVar("Info", bound=NamedTuple)
_TunedIn = TypeVar("_TunedIn", bound=NamedTuple, contravariant=True)
_InfoOut = TypeVar("_InfoOut", bound=NamedTuple, covariant=True)

# From metric, state, tuning and keys to the new state and what is known of the transition.
CompiledStep = Callable[[Metric | None, State, Tuned, Key], tuple[State, Info]]


class _TrajectoryKernel(Protocol[State, _TunedIn, _InfoOut]):
    """A kernel whose transition is a beginning, some leapfrogs, and an end."""

    def begin(self, state: State, tuning: _TunedIn, keys: Key) -> Any:
        """A trajectory with a field `planned`: how many leapfrogs each chain takes."""

    def leapfrog(self, target: Target, trajectory: Any, tuning: _TunedIn) -> Any:
        """One leapfrog; chains that have theirs stay as they are."""

    def end(self, trajectory: Any, tuning: _TunedIn, keys: Key) -> tuple[State, _InfoOut]:
        """The new state."""


def compiled_step(
    kernel: _TrajectoryKernel[State, Tuned, Info],
    target: Target,
    metric: Metric | None,
    state: State,
    tuning: Tuned,
    keys: Key,
) -> CompiledStep[State, Tuned, Info]:
    """A kernel's step with its beginning, its leapfrog and its end as one compiled graph each.

    Between them Python reads how many leapfrogs there are, once in a transition.

    Args:
        kernel: The kernel.
        target: What to draw from, on its own space.
        metric: The map from whitened space, of the kind, shapes and dtype that will be used; None: there is none.
        state: A state to capture the step with: shapes and dtypes matter.
        tuning: A tuning, likewise.
        keys: Keys, likewise.

    Returns:
        The step: it takes a metric, a state, a tuning and keys.

    Raises:
        CaptureError: The target's log density depends on the values of its tensors, so that it is not one graph.
    """

    def leapfrog(metric: Any, trajectory: Any, tuning: Tuned) -> Any:
        return kernel.leapfrog(Preconditioned(target, metric) if metric else target, trajectory, tuning)

    example = kernel.begin(state, tuning, keys)
    begin = _captured(lambda s, t, k: kernel.begin(s, t, Key(k)), state, tuning, keys.data)
    advance = _captured(leapfrog, metric or (), example, tuning)
    end = _captured(lambda x, t, k: kernel.end(x, t, Key(k)), example, tuning, keys.data)

    def step(metric: Metric | None, state: State, tuning: Tuned, keys: Key) -> tuple[State, Info]:
        trajectory = begin(state, tuning, keys.data)
        for _ in range(int(trajectory.planned.max())):
            trajectory = advance(metric or (), trajectory, tuning)
        new: tuple[State, Info] = end(trajectory, tuning, keys.data)
        return new

    return step


def _captured(function: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """A function of trees of tensors as one graph."""
    leaves, tree = pytree.tree_flatten(example)
    results: list[Any] = []

    def flat(*leaves: Tensor) -> list[Tensor]:
        result, spec = pytree.tree_flatten(function(*pytree.tree_unflatten(leaves, tree)))
        results[:] = [spec]
        return result

    graph = capture(flat, leaves)

    def call(*arguments: Any) -> Any:
        return pytree.tree_unflatten(graph(*pytree.tree_leaves(arguments)), results[0])

    return call
