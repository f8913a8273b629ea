"""Transitions one after the other by a kernel's own `step`, eagerly or as a graph; every chain waits for the others."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.block import Block, Report
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.target import Target
from posterity.infer.replay import Replay
from posterity.kernels import Key


class Stepping:
    """Makes transitions of any kernel.

    Args:
        kernel: The kernel.
        target: What to draw from, on its own space.
        keys: The chains' keys; transition t takes that of `fold_in(t)`.
        compile: Whether a step is to be captured as one graph.
    """

    def __init__(self, kernel: Kernel[Any, Any], target: Target, keys: Key, *, compile: bool) -> None:  # noqa: A002  # the name that drivers share
        self.kernel, self.target, self._keys, self._compile = kernel, target, keys, compile
        self._graph: tuple[Any, Replay, Any] | None = None

    def init(self, metric: Metric | None, point: Tensor) -> Any:
        """The kernel's state at points of the target's own space."""
        if metric is None:
            return self.kernel.init(self.target, point)
        return self.kernel.init(Preconditioned(self.target, metric), metric.inverse(point))

    def warm_up(self, adaptation: Adaptation, state: Any, first: int, number: int, report: Report) -> tuple[Any, Block]:
        """Make transitions from which the kernel is tuned.

        Args:
            adaptation: What tunes it.
            state: Where the chains are.
            first: The number of the first transition.
            number: How many.
            report: Is told of the progress.

        Returns:
            The new state, and what the transitions gave.
        """
        found = []
        for t in range(first, first + number):
            metric = adaptation.metric
            state, info = self._step(metric, state, adaptation.tuning, t)
            found.append(self._entry(metric, state, info))
            if adaptation.update(state, info):
                state = self.init(adaptation.metric, self.point(metric, state))
            report(1, _shown(adaptation.tuning, info))
        return state, _block(found)

    def sample(self, adaptation: Adaptation, state: Any, first: int, number: int, report: Report) -> tuple[Any, Block]:
        """Make transitions with the tuning as it is; as `warm_up`. A Ctrl-C ends the block early."""
        found: list[Block] = []
        try:
            for t in range(first, first + number):
                state, info = self._step(adaptation.metric, state, adaptation.tuning, t)
                found.append(self._entry(adaptation.metric, state, info))
                report(1, _shown(adaptation.tuning, info))
        except KeyboardInterrupt:
            if not found:
                raise
        return state, _block(found)

    def _entry(self, metric: Metric | None, state: Any, info: Any) -> Block:
        draws = {"position": self.point(metric, state), **self.kernel.extra_draws(state)}
        known = {"log_density": state.log_density, **info._asdict()}
        copied = {name: value.clone() for name, value in known.items()}
        return Block({name: value.clone() for name, value in draws.items()}, copied)

    def point(self, metric: Metric | None, state: Any) -> Tensor:
        """A state's points on the target's own space."""
        position: Tensor = self.kernel.position(state)
        return position if metric is None else metric.forward(position)

    def _step(self, metric: Metric | None, state: Any, tuning: Any, number: int) -> tuple[Any, Any]:
        keys = self._keys.fold_in(number)
        if not (self._compile and self.kernel.is_capturable):
            return self.kernel.step(self._whitened(metric), state, tuning, keys)
        leaves, structure = pytree.tree_flatten((metric, state, tuning, keys.data))
        shapes = [leaf.shape for leaf in leaves]
        if self._graph is None or self._graph[0] != shapes:

            def step(*flat: Tensor) -> Any:
                own_metric, own_state, own_tuning, data = pytree.tree_unflatten(list(flat), structure)
                return self.kernel.step(self._whitened(own_metric), own_state, own_tuning, Key(data))

            graph = Replay(step, [leaf.clone().contiguous() for leaf in leaves])
            self._graph = shapes, graph, structure
        _, graph, _ = self._graph
        for static, leaf in zip(graph.inputs, leaves, strict=True):
            static.copy_(leaf)
        graph()
        new_state, info = graph.result
        return pytree.tree_map(torch.clone, new_state), info

    def _whitened(self, metric: Metric | None) -> Target:
        return self.target if metric is None else Preconditioned(self.target, metric)


def _block(entries: list[Block]) -> Block:
    draws = {name: torch.stack([entry.draws[name] for entry in entries], 1) for name in entries[0].draws}
    info = {name: torch.stack([entry.info[name] for entry in entries], 1) for name in entries[0].info}
    return Block(draws, info)


def _shown(tuning: Any, info: Any) -> dict[str, Tensor]:
    """What a progress line is made of."""
    shown: dict[str, Tensor] = {}
    if hasattr(tuning, "step_size"):
        shown["step_size"] = tuning.step_size
    for name in ("accept_prob", "is_divergent"):
        if hasattr(info, name):
            shown[name] = getattr(info, name)
    return shown
