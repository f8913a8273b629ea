"""One whole step of variational inference as a compiled graph: draw, objective, gradient, optimizer."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils import _pytree as pytree

from posterity.infer.arguments import values_of
from posterity.infer.objective import Estimate, Objective
from posterity.infer.optimizers import clipped, scheduled, updated
from posterity.infer.packing import Pack, Packing
from posterity.infer.parameters import Parameters
from posterity.infer.replay import Replay
from posterity.infer.simulation import Pair, Program
from posterity.kernels.noise_tape import Pools
from posterity.kernels.tracing import once


class GraphStep:
    """A compiled step for arguments of one structure; parameters and optimizer state are changed in place.

    Args:
        objective: The bound.
        model: The model.
        guide: The guide.
        parameters: What is trained.
        optimizer: The optimizer over those parameters.
        packing: Its parameters and its state, packed.
        args: Arguments of the programs.
        kwargs: Their keyword arguments.
        pools: Noise for one estimate.
        state: The objective's state.
        clip_norm: The greatest norm of the gradients.
        clip_value: Their greatest absolute value.

    Raises:
        CaptureError: The programs cannot be captured.
        ValueError: The loss depends on nothing that is trained.
    """

    def __init__(
        self,
        objective: Objective,
        model: Program,
        guide: Program,
        parameters: Parameters,
        optimizer: torch.optim.Optimizer,
        packing: Packing,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        pools: Pools,
        state: Mapping[str, Tensor],
        clip_norm: float | None,
        clip_value: float | None,
    ) -> None:
        self._optimizer, packs = optimizer, packing.packs
        place = {id(p): name for name, p in parameters.named_parameters()}
        names = [place[id(packing.parameters[i])] for pack in packs for i in pack.members]
        leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
        given_tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        fixed = [_GIVEN if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        learns = [[packing.parameters[i].requires_grad for i in pack.members] for pack in packs]
        after_names: list[str] = []

        def step(
            values: list[Tensor],
            kept: list[dict[str, Tensor]],
            buffers: dict[str, Tensor],
            rates: list[list[Tensor]],
            noise: dict[str, Tensor],
            before: dict[str, Tensor],
            tensors: list[Tensor],
        ) -> tuple[Tensor, ...]:
            given = iter(tensors)
            whole = [next(given) if leaf is _GIVEN else leaf for leaf in fixed]
            own_args, own_kwargs = pytree.tree_unflatten(whole, structure)
            with torch.enable_grad():
                roots = [
                    part.detach().requires_grad_(learning)
                    for pack, value, own in zip(packs, values, learns, strict=True)
                    for part, learning in zip(pack.parts(value), own, strict=True)
                ]
                estimate = functional_call(
                    parameters,
                    {**dict(zip(names, roots, strict=True)), **buffers},
                    (lambda: objective.estimate(Pair(model, guide, own_args, own_kwargs), noise, before),),
                )
                check_trained(estimate)
                learning_roots = [root for root in roots if root.requires_grad]
                found = iter(torch.autograd.grad(estimate.surrogate, learning_roots, allow_unused=True))
            gradients, used = [], []
            for pack, value, learning in zip(packs, values, learns, strict=True):
                own = [next(found) if learns_here else None for learns_here in learning]
                used.append([g is not None for g in own])
                parts = pack.parts(value)
                gradients.append(
                    pack.whole([torch.zeros_like(v) if g is None else g for g, v in zip(own, parts, strict=True)])
                )
            gradients = clipped(gradients, clip_norm, clip_value)
            # Zero times what is not finite is NaN: a sum is vectorised, where `all` over flags is not.
            good = once((estimate.loss + sum((0 * g).sum() for g in gradients)).isfinite())
            for pack, value, own_state, gradient, use in zip(packs, values, kept, gradients, used, strict=True):
                if any(use):
                    _update(pack, value, own_state, gradient, rates[pack.group], _mask(pack, use, value, good))
            after_names[:] = estimate.state
            after = [torch.where(good, v.detach(), before[name]) for name, v in estimate.state.items()]
            return torch.where(good, estimate.loss, torch.nan), *after

        self._numbers = [scheduled(group) for group in optimizer.param_groups]
        self._rates = [[torch.tensor(n, dtype=torch.float64) for n in numbers] for numbers in self._numbers]
        example, inputs = pytree.tree_flatten(
            (
                [pack.value for pack in packs],
                [pack.state for pack in packs],
                dict(parameters.named_buffers()),
                self._rates,
                dict(pools),
                dict(state),
                given_tensors,
            )
        )
        lasting = len(example) - len(pools) - len(state) - len(given_tensors)
        places = iter(range(lasting, len(example)))
        # A dict's values are flattened in the order of its keys as they stand.
        self._noise = {name: next(places) for name in pools}
        self._before = {name: next(places) for name in state}
        # Noise and state have memory of the graph's own, what lasts and the arguments that of their owners.
        for own in (*self._noise.values(), *self._before.values()):
            example[own] = example[own].clone()
        self._replay = Replay(lambda *flat: step(*pytree.tree_unflatten(list(flat), inputs)), example)
        self._lasting, self._given = (
            self._replay.inputs[:lasting],
            self._replay.inputs[len(example) - len(given_tensors) :],
        )
        self._after_names = after_names
        self._rooms: list[Tensor] = []
        self._rows: list[tuple[Tensor, ...]] = []

    @staticmethod
    def key(args: Sequence[Any], kwargs: Mapping[str, Any], parameters: Parameters) -> Hashable:
        """What two calls must have in common to run in one graph."""
        modes = tuple(module.training for module in parameters.modules())
        return values_of(args, kwargs), modes, tuple(p.requires_grad for p in parameters.parameters())

    @staticmethod
    def tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """The tensors among arguments, in the order in which a graph takes them."""
        return [leaf for leaf in pytree.tree_leaves((tuple(args), dict(kwargs))) if isinstance(leaf, Tensor)]

    def __call__(
        self, tensors: Sequence[Tensor], pools: Pools, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take the step; the loss, NaN if it was refused, and the objective's new state."""
        self._schedule()
        if self.is_native(tensors):
            self._write(self._noise, pools)
            self._write(self._before, state)
            self._replay()
            loss, *after = (output.clone() for output in self._replay.outputs)
        else:
            noise, before = (pools[name] for name in self._noise), (state[name] for name in self._before)
            loss, *after = self._replay.compiled(*self._lasting, *noise, *before, *tensors)
        return loss, dict(zip(self._after_names, after, strict=True))

    def is_native(self, tensors: Sequence[Tensor]) -> bool:
        """Whether steps on these arguments are replayed: on those that the graph was captured with."""
        return self._replay.is_native and all(
            tensor.data_ptr() == given.data_ptr() for tensor, given in zip(tensors, self._given, strict=True)
        )

    def rooms(self, number: int) -> list[tuple[Tensor, ...]]:
        """Where the noise of the next steps is to be written before `block`: each step's pools in turn."""
        if len(self._rows) < number:
            inputs = [self._replay.inputs[place] for place in self._noise.values()]
            self._rooms = [tensor.new_empty((number, *tensor.shape)) for tensor in inputs]
            self._rows = list(zip(*(room.unbind(0) for room in self._rooms), strict=True)) or [()] * number
        return self._rows[:number]

    def block(self, state: Mapping[str, Tensor], losses: Tensor) -> None:
        """Take several steps, where they are native, on the noise in `rooms`.

        Args:
            state: The objective's state.
            losses: Takes each step's loss, `[num_steps]`, NaN where it was refused.
        """
        self._schedule()
        self._write(self._before, state)
        self._replay.loop(
            len(losses),
            advancing=[
                (place, room[: len(losses)]) for place, room in zip(self._noise.values(), self._rooms, strict=True)
            ],
            collecting=[(0, losses)],
            feedback=[(i, self._before[name]) for i, name in enumerate(self._after_names, 1)],
        )

    def state(self) -> dict[str, Tensor]:
        """The objective's state after `block`."""
        return {name: self._replay.inputs[place].clone() for name, place in self._before.items()}

    def _schedule(self) -> None:
        for i, group in enumerate(self._optimizer.param_groups):
            numbers = scheduled(group)
            if numbers != self._numbers[i]:
                self._numbers[i] = numbers
                for rate, number in zip(self._rates[i], numbers, strict=True):
                    rate.fill_(number)

    def _write(self, places: Mapping[str, int], values: Mapping[str, Tensor]) -> None:
        for name, place in places.items():
            self._replay.inputs[place].copy_(values[name])


def check_trained(estimate: Estimate) -> None:
    """Refuse an estimate without a gradient.

    Raises:
        ValueError: The loss depends on nothing that is trained.
    """
    if not estimate.surrogate.requires_grad:
        raise ValueError(
            "SVI: the loss depends on nothing that is trained: no site of guide or model uses a parameter that takes a "
            "gradient"
        )


# Stands for a tensor among the arguments.
_GIVEN = object()


def _mask(pack: Pack, used: list[bool], value: Tensor, good: Tensor) -> Tensor:
    """Where a pack changes: nowhere in a bad step, and never in members that the loss does not depend on."""
    if all(used):
        return good
    marks = [value.new_full((shape.numel(),), u, dtype=torch.bool) for shape, u in zip(pack.shapes, used, strict=True)]
    return good & torch.cat(marks)


def _update(
    pack: Pack, value: Tensor, state: dict[str, Tensor], gradient: Tensor, rates: list[Tensor], mask: Tensor
) -> None:
    """Take an optimizer's step in place, where the mask allows it."""
    several = len(pack.members) > 1
    one = {key: tensor[0] if several and key == "step" else tensor for key, tensor in state.items()}
    new, new_state = updated(pack.rule, value, gradient, one, rates)
    value.copy_(torch.where(mask, new, value))
    for key, tensor in new_state.items():
        kept = state[key]
        # Members without a gradient count along: with averages of zero it makes no difference to them.
        where = mask.any() if key == "step" else mask
        kept.copy_(torch.where(where, tensor.expand_as(kept), kept))
