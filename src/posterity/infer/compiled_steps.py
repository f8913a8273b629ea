"""The compiled steps of one driver: a graph for each kind of arguments, over parameters that are packed once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from posterity.infer.objective import Objective
from posterity.infer.optimizers import rules
from posterity.infer.packing import Packing
from posterity.infer.parameters import Parameters
from posterity.infer.simulation import Program
from posterity.infer.svi_graph import GraphStep
from posterity.kernels.noise_tape import Pools


class CompiledSteps:
    """Steps as compiled graphs, captured when a kind of arguments is met for the first time.

    Args:
        objective: The bound.
        model: The model.
        guide: The guide.
        parameters: What is trained.
        clip_norm: The greatest norm of the gradients.
        clip_value: Their greatest absolute value.
    """

    def __init__(
        self,
        objective: Objective,
        model: Program,
        guide: Program,
        parameters: Parameters,
        clip_norm: float | None,
        clip_value: float | None,
    ) -> None:
        self._objective, self._model, self._guide, self._parameters = objective, model, guide, parameters
        self._clip_norm, self._clip_value = clip_norm, clip_value
        self._graphs: dict[Hashable, GraphStep] = {}
        self._bound: tuple[Any, Any, GraphStep, list[Tensor]] | None = None
        self._packing: Packing | None = None

    def __len__(self) -> int:
        return len(self._graphs)

    def forget(self) -> None:
        """Let go of all graphs, for when the optimizer's state has been replaced."""
        self._graphs.clear()
        self._bound = self._packing = None

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a step; the loss, NaN if it was refused, and the objective's new state.

        Raises:
            ValueError: The optimizer is none that a graph can hold.
            CaptureError: The programs cannot be captured.
        """
        # A run hands over the same arguments at every step.
        if self._bound is None or self._bound[0] is not args or self._bound[1] is not kwargs:
            if self._packing is not None and self._packing.is_stale(optimizer):
                self.forget()
            key = GraphStep.key(args, kwargs, self._parameters)
            if key not in self._graphs:
                self._graphs[key] = GraphStep(
                    self._objective, self._model, self._guide, self._parameters, optimizer, self._packed(optimizer),
                    args, kwargs, pools, state, self._clip_norm, self._clip_value,
                )  # fmt: skip
            self._bound = args, kwargs, self._graphs[key], GraphStep.tensors(args, kwargs)
        _, _, graph, tensors = self._bound
        result = graph(tensors, pools, state)
        optimizer._opt_called = True  # type: ignore[attr-defined]  # else schedules warn that it never stepped
        return result

    def native(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> GraphStep | None:
        """The graph that the last step ran in, if it was on these arguments, and can take several steps at once."""
        if self._bound is None or self._bound[0] is not args or self._bound[1] is not kwargs:
            return None
        _, _, graph, tensors = self._bound
        return graph if graph.is_native(tensors) else None

    def _packed(self, optimizer: torch.optim.Optimizer) -> Packing:
        if self._packing is None:
            found = rules(optimizer)
            if found is None:
                raise ValueError(
                    f"SVI: a step of {type(optimizer).__name__} with these options cannot be compiled, only those "
                    "of Adam and AdamW without amsgrad, and SGD: use one of them, or compile=False"
                )
            self._packing = Packing(optimizer, found)
        return self._packing
