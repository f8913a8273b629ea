"""A step of a kernel on a model's minibatch: eager, or as one compiled graph."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.capture import capture
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

        self._graph = capture(step, [*state, *settings, *call.subsamples.values(), *_tensors(leaves)])
        self._num_states, self._kinds = num_states, kinds
        self._last: tuple[Any, Any, list[Tensor]] = (call.args, call.kwargs, _tensors(leaves))

    def __call__(self, state: Any, call: Call, settings: Settings) -> tuple[Any, Any]:
        """Take the step."""
        if self._last[0] is not call.args or self._last[1] is not call.kwargs:
            leaves = pytree.tree_leaves((tuple(call.args), dict(call.kwargs)))
            self._last = (call.args, call.kwargs, _tensors(leaves))
        found = self._graph(*state, *settings, *call.subsamples.values(), *self._last[2])
        make_state, make_info = self._kinds
        return make_state(found[: self._num_states]), make_info(found[self._num_states :])


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


# Stands for a tensor among the arguments.
_GIVEN = object()
