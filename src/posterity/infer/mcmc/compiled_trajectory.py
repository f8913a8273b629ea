"""Transitions whose number of integrator steps is known only as they run, out of three compiled graphs."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.taped_keys import TapedKeys, requests_of
from posterity.infer.mcmc.target import Target
from posterity.infer.replay import Replay
from posterity.kernels import Key

State = TypeVar("State", bound=NamedTuple)
Tuned = TypeVar("Tuned", bound=NamedTuple)
Info = TypeVar("Info", bound=NamedTuple)
_TunedIn = TypeVar("_TunedIn", bound=NamedTuple, contravariant=True)
_InfoOut = TypeVar("_InfoOut", bound=NamedTuple, covariant=True)

# From metric, state, tuning and keys to the new state and what is known of the transition.
CompiledStep = Callable[[Metric | None, State, Tuned, Key], tuple[State, Info]]


class TrajectoryKernel(Protocol[State, _TunedIn, _InfoOut]):
    """A kernel whose transition is a beginning, some leapfrogs, and an end; each is one graph of tensor operations."""

    def begin(self, state: State, tuning: _TunedIn, keys: Key) -> Any:
        """A trajectory, whose field `planned` says how many leapfrogs each chain takes."""

    def leapfrog(self, target: Target, trajectory: Any, tuning: _TunedIn) -> Any:
        """One leapfrog; chains that have theirs stay as they are."""

    def end(self, trajectory: Any, tuning: _TunedIn, keys: Key) -> tuple[State, _InfoOut]:
        """The new state, and what is known of the transition."""


def compiled_step(
    kernel: TrajectoryKernel[State, Tuned, Info],
    target: Target,
    metric: Metric | None,
    state: State,
    tuning: Tuned,
    keys: Key,
) -> CompiledStep[State, Tuned, Info]:
    """A kernel's step with its beginning, its leapfrog and its end as one compiled graph each.

    The number of leapfrogs is read once in a transition; they follow each other without Python where the leapfrog's
    graph can be replayed natively. The step belongs to one thread at a time.

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
    example = kernel.begin(state, tuning, keys)
    size, structure = len(pytree.tree_leaves(example)), pytree.tree_structure(example)
    first = len(pytree.tree_leaves(metric or ()))
    changing: list[int] = []

    def leapfrog(metric: Any, trajectory: Any, tuning: Tuned) -> list[Tensor]:
        new = kernel.leapfrog(Preconditioned(target, metric) if metric else target, trajectory, tuning)
        pairs = zip(pytree.tree_leaves(new), pytree.tree_leaves(trajectory), strict=True)
        changed = [(place, leaf) for place, (leaf, old) in enumerate(pairs) if leaf is not old]
        changing[:] = [first + place for place, _ in changed]
        return [leaf for _, leaf in changed]

    begin = _Taped(kernel.begin, state, tuning, keys)
    advance = _graph(leapfrog, metric or (), example, tuning)
    end = _Taped(kernel.end, example, tuning, keys)

    def step(metric: Metric | None, state: State, tuning: Tuned, keys: Key) -> tuple[State, Info]:
        trajectory = begin(state, tuning, keys)
        _fill(advance, metric or (), trajectory, tuning)
        advance.loop(int(trajectory.planned.max()), feedback=list(enumerate(changing)))
        whole = pytree.tree_unflatten(advance.inputs[first : first + size], structure)
        new: tuple[State, Info] = pytree.tree_map(torch.clone, end(whole, tuning, keys))
        return new

    return step


class _Taped:
    """A function of a tree, a tuning and keys as one graph, whose random numbers are made before each call."""

    def __init__(self, function: Callable[[Any, Any, Any], Any], tree: Any, tuning: Any, keys: Key) -> None:
        self._requests = requests_of(lambda own: function(tree, tuning, own), keys)

        def taped(tree: Any, tuning: Any, noise: list[Tensor]) -> Any:
            numbers = dict(zip(self._requests, noise, strict=True))
            return function(tree, tuning, TapedKeys(numbers.__getitem__))

        self._graph = _graph(taped, tree, tuning, self._noise(keys))

    def __call__(self, tree: Any, tuning: Any, keys: Key) -> Any:
        _fill(self._graph, tree, tuning, self._noise(keys))
        self._graph()
        return self._graph.result

    def _noise(self, keys: Key) -> list[Tensor]:
        return [request.answer(keys) for request in self._requests]


def _graph(function: Callable[..., Any], *example: Any) -> Replay:
    """A function of trees of tensors as one graph."""
    leaves, structure = pytree.tree_flatten(example)
    owned = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
    return Replay(lambda *flat: function(*pytree.tree_unflatten(flat, structure)), owned, is_settled=True)


def _fill(graph: Replay, *arguments: Any) -> None:
    for static, leaf in zip(graph.inputs, pytree.tree_leaves(arguments), strict=True):
        static.copy_(leaf)
