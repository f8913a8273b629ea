"""Steps of a kernel on a model's minibatches: eager, or as one compiled graph that is replayed for many steps."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.recording import MOST_BYTES
from posterity.infer.replay import Replay
from posterity.infer.run_at_point import Call
from posterity.infer.stochastic_gradient.kernel import StochasticGradientKernel
from posterity.infer.stochastic_gradient.random_blocks import Settings
from posterity.infer.stochastic_gradient.stochastic_potential import StochasticPotential


def transition(
    kernel: StochasticGradientKernel[Any], potential: StochasticPotential, state: Any, call: Call, settings: Settings
) -> tuple[Any, Any]:
    """Take a step: the new state, and what is known of it."""
    with torch.no_grad():
        return kernel.step(state, lambda z: potential.gradient(z, call), *settings)


class CapturedTransition:
    """`transition` as one compiled graph, for arguments like those of an example.

    Args:
        kernel: The kernel.
        potential: The model.
        state: A state.
        call: Arguments of the model.
        settings: Of a step.

    Raises:
        CaptureError: The model cannot be captured.
    """

    def __init__(
        self,
        kernel: StochasticGradientKernel[Any],
        potential: StochasticPotential,
        state: Any,
        call: Call,
        settings: Settings,
    ) -> None:
        leaves, structure = pytree.tree_flatten((tuple(call.args), dict(call.kwargs)))
        fixed = [_GIVEN if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        names, num_states = list(call.subsamples), len(state)
        num_settings = num_states + len(settings)
        kinds: list[Callable[[Sequence[Tensor]], Any]] = []

        def step(*given: Tensor) -> tuple[Tensor, ...]:
            before = type(state)._make(given[:num_states])
            own = Settings._make(given[num_states:num_settings])
            subsamples = dict(zip(names, given[num_settings:], strict=False))
            tensors = iter(given[num_settings + len(names) :])
            whole = [next(tensors) if leaf is _GIVEN else leaf for leaf in fixed]
            args, kwargs = pytree.tree_unflatten(whole, structure)
            after, info = transition(kernel, potential, before, Call(args, kwargs, subsamples), own)
            kinds[:] = [type(after)._make, type(info)._make]
            return *after, *info

        moving = [*state, *settings, *call.subsamples.values()]
        data = _tensors(leaves)
        # The memory of inputs is written to, except where there is too much of it: only then is the user's own taken.
        is_large = sum(tensor.nbytes for tensor in data) > MOST_BYTES
        owned = data if is_large else [tensor.clone() for tensor in data]
        self._graph = Replay(step, [*(part.clone(memory_format=torch.contiguous_format) for part in moving), *owned])
        self._num_states, self._kinds = num_states, kinds
        self._last: tuple[Any, Any, list[Tensor]] = (call.args, call.kwargs, data)
        self._own = call.args, call.kwargs

    @property
    def reason(self) -> str:
        """Why steps are not replayed natively; empty where they are."""
        return self._graph.reason

    def __call__(self, state: Any, call: Call, settings: Settings) -> tuple[Any, Any]:
        """Take a step on whatever arguments are like the example's."""
        if self._last[0] is not call.args or self._last[1] is not call.kwargs:
            leaves = pytree.tree_leaves((tuple(call.args), dict(call.kwargs)))
            self._last = (call.args, call.kwargs, _tensors(leaves))
        found = self._graph.compiled(*state, *settings, *call.subsamples.values(), *self._last[2])
        return self._named(found)

    def repeats(self, call: Call) -> bool:
        """Whether several steps on these arguments can be taken at once: they are those that it was made for."""
        return self._own[0] is call.args and self._own[1] is call.kwargs

    def many(self, state: Any, call: Call, settings: Settings) -> tuple[Any, Any]:
        """Take several steps on the arguments that this was made for.

        Args:
            state: Where to begin.
            call: Those arguments, with subsamples by plate `[num_steps, num_chains, taken]`.
            settings: Of the steps, `[num_steps, ...]` each.

        Returns:
            The states after the steps, and what is known of them, with a dimension `num_steps` in front.
        """
        for static, part in zip(self._graph.inputs, state, strict=False):
            static.copy_(part)
        moving = [rows.contiguous() for rows in (*settings, *call.subsamples.values())]
        outputs = self._graph.outputs
        rows = [torch.empty(len(moving[0]), *out.shape, dtype=out.dtype, device=out.device) for out in outputs]
        self._graph.loop(
            len(moving[0]),
            advancing=list(enumerate(moving, start=self._num_states)),
            collecting=list(enumerate(rows)),
            feedback=[(i, i) for i in range(self._num_states)],
        )
        return self._named(rows)

    def _named(self, found: Sequence[Tensor]) -> tuple[Any, Any]:
        make_state, make_info = self._kinds
        return make_state(found[: self._num_states]), make_info(found[self._num_states :])


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


# Stands for a tensor among the arguments.
_GIVEN = object()
