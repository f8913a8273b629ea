"""A kernel's step as one compiled graph that native code repeats, with random numbers made ahead."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.mcmc.taped_keys import TapedKeys, requests_of
from posterity.infer.replay import Replay
from posterity.kernels import Key


class StepGraph:
    """Repeats a step.

    Args:
        step: Takes what stays (metric, tuning), a state and keys; returns the new state, and what is kept of it in
            tuples and dicts.
        given: What stays, as an example.
        state: A state, as an example.
        keys: The chains' keys; transition t takes that of `fold_in(t)`.

    Raises:
        CannotTapeError: The step's random numbers cannot be made ahead.
        CaptureError: Its course depends on values.
    """

    def __init__(self, step: Callable[[Any, Any, Any], Any], given: Any, state: Any, keys: Key) -> None:
        self._keys = keys
        self._requests = requests_of(lambda own: step(given, state, own), keys.fold_in(0))
        noise = [request.answer(keys.fold_in(0)) for request in self._requests]
        whole = [given, state, noise]
        leaves, self._structure = pytree.tree_flatten(whole)
        self._is_tensor = [isinstance(leaf, Tensor) for leaf in leaves]
        fixed = [None if is_tensor else leaf for leaf, is_tensor in zip(leaves, self._is_tensor, strict=True)]
        self._num_noise = len(noise)

        def flat(*tensors: Tensor) -> Any:
            rest = iter(tensors)
            own = [next(rest) if is_tensor else f for f, is_tensor in zip(fixed, self._is_tensor, strict=True)]
            given, state, noise = pytree.tree_unflatten(own, self._structure)
            numbers = dict(zip(self._requests, noise, strict=True))
            return step(given, state, TapedKeys(numbers.__getitem__))

        self._graph = Replay(
            flat, [leaf.clone().contiguous() for leaf in leaves if isinstance(leaf, Tensor)], is_settled=True
        )
        self._num_state = len(_tensors(state))

    def at_once(self, most: int, most_noise: int) -> int:
        """How many repetitions are sensible in one call."""
        size = sum(tensor.numel() for tensor in self._graph.inputs[-self._num_noise :]) if self._num_noise else 1
        return max(1, min(most, most_noise // max(size, 1)))

    def fits(self, given: Any, state: Any) -> bool:
        """Whether tensors are of the shapes and types that the graph is for."""
        own = _tensors([given, state])
        statics = self._graph.inputs[: len(own)]
        return len(own) + self._num_noise == len(self._graph.inputs) and all(
            a.shape == b.shape and a.dtype == b.dtype for a, b in zip(own, statics, strict=True)
        )

    def __call__(self, given: Any, state: Any, first: int, number: int) -> tuple[Any, Any, Any]:
        """Repeat the step for transitions `first`, `first + 1` and so on.

        Returns:
            The state after them, and what was kept of each, its tensors `[num_chains, number, ...]`.
        """
        own = _tensors([given, state])
        for static, value in zip(self._graph.inputs, own, strict=False):
            static.copy_(value)
        transitions = torch.arange(first, first + number, device=self._keys.data.device)
        keys = Key(self._keys.data.unsqueeze(0)).fold_in(transitions.unsqueeze(-1))
        noise = [request.answer(keys).contiguous() for request in self._requests]
        outputs = self._graph.outputs
        rows = [torch.empty(number, *out.shape, dtype=out.dtype, device=out.device) for out in outputs]
        begin = len(own) - self._num_state
        self._graph.loop(
            number,
            advancing=list(enumerate(noise, start=len(own))),
            collecting=list(enumerate(rows)),
            feedback=[(i, begin + i) for i in range(self._num_state)],
        )
        after, *kept = pytree.tree_unflatten([row.transpose(0, 1) for row in rows], self._graph.structure)
        return (pytree.tree_map(lambda row: row[:, -1].clone(), after), *kept)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
