"""One whole step of variational inference as a compiled graph: draw, objective, gradient, optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils import _pytree as pytree

from posterity.infer.capture import capture
from posterity.infer.objective import Objective
from posterity.infer.optimizers import clipped, updated
from posterity.infer.packing import Pack, Packing
from posterity.infer.parameters import Parameters
from posterity.infer.simulation import Program
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
        RuntimeError: The programs cannot be captured.
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
        fixed = [_GIVEN if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        after_names: list[str] = []

        def step(
            values: list[Tensor],
            kept: list[dict[str, Tensor]],
            buffers: dict[str, Tensor],
            rates: list[Tensor],
            noise: dict[str, Tensor],
            before: dict[str, Tensor],
            tensors: list[Tensor],
        ) -> tuple[Tensor, ...]:
            given = iter(tensors)
            whole = [next(given) if leaf is _GIVEN else leaf for leaf in fixed]
            own_args, own_kwargs = pytree.tree_unflatten(whole, structure)
            with torch.enable_grad():
                roots = [
                    part.detach().requires_grad_()
                    for pack, value in zip(packs, values, strict=True)
                    for part in pack.parts(value)
                ]
                estimate = functional_call(
                    parameters,
                    {**dict(zip(names, roots, strict=True)), **buffers},
                    (lambda: objective.estimate(model, guide, own_args, own_kwargs, noise, before),),
                )
                found = iter(torch.autograd.grad(estimate.surrogate, roots, allow_unused=True))
            gradients, used = [], []
            for pack, value in zip(packs, values, strict=True):
                own = [next(found) for _ in pack.members]
                used.append([g is not None for g in own])
                parts = pack.parts(value)
                gradients.append(
                    pack.whole([torch.zeros_like(v) if g is None else g for g, v in zip(own, parts, strict=True)])
                )
            gradients = clipped(gradients, clip_norm, clip_value)
            good = once(torch.stack([estimate.loss.isfinite(), *(g.isfinite().all() for g in gradients)]).all())
            for pack, value, own_state, gradient, use in zip(packs, values, kept, gradients, used, strict=True):
                if any(use):
                    _update(pack, value, own_state, gradient, rates[pack.group], _mask(pack, use, value, good))
            after_names[:] = estimate.state
            after = [torch.where(good, v.detach(), before[name]) for name, v in estimate.state.items()]
            return torch.where(good, estimate.loss, torch.nan), *after

        self._rates = [torch.as_tensor(group["lr"], dtype=torch.float64) for group in optimizer.param_groups]
        example, inputs = pytree.tree_flatten(
            (
                [pack.value for pack in packs],
                [pack.state for pack in packs],
                dict(parameters.named_buffers()),
                self._rates,
                dict(pools),
                dict(state),
                [leaf for leaf in leaves if isinstance(leaf, Tensor)],
            )
        )
        self._lasting = example[: len(example) - len(pools) - len(state) - fixed.count(_GIVEN)]
        self._graph = capture(lambda *flat: step(*pytree.tree_unflatten(list(flat), inputs)), example)
        # A dict's values are flattened in the order of its keys as they stand.
        self._noise_names, self._state_names, self._after_names = list(pools), list(state), after_names

    @staticmethod
    def key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What two calls must have in common to run in one graph."""
        leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
        return str(structure), tuple(
            (leaf.shape, leaf.stride(), leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else repr(leaf)
            for leaf in leaves
        )

    @staticmethod
    def tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """The tensors among arguments, in the order in which a graph takes them."""
        return [leaf for leaf in pytree.tree_leaves((tuple(args), dict(kwargs))) if isinstance(leaf, Tensor)]

    def __call__(
        self, tensors: Sequence[Tensor], pools: Pools, state: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take the step; the loss, NaN if it was refused, and the objective's new state."""
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        noise, before = (pools[name] for name in self._noise_names), (state[name] for name in self._state_names)
        loss, *after = self._graph(*self._lasting, *noise, *before, *tensors)
        return loss, dict(zip(self._after_names, after, strict=True))


# Stands for a tensor among the arguments.
_GIVEN = object()


def _mask(pack: Pack, used: list[bool], value: Tensor, good: Tensor) -> Tensor:
    """Where a pack changes: nowhere in a bad step, and never in members that the loss does not depend on."""
    if all(used):
        return good
    marks = [value.new_full((shape.numel(),), u, dtype=torch.bool) for shape, u in zip(pack.shapes, used, strict=True)]
    return good & torch.cat(marks)


def _update(pack: Pack, value: Tensor, state: dict[str, Tensor], gradient: Tensor, rate: Tensor, mask: Tensor) -> None:
    """Take an optimizer's step in place, where the mask allows it."""
    several = len(pack.members) > 1
    one = {key: tensor[0] if several and key == "step" else tensor for key, tensor in state.items()}
    new, new_state = updated(pack.rule, value, gradient, one, rate)
    value.copy_(torch.where(mask, new, value))
    for key, tensor in new_state.items():
        kept = state[key]
        # Members without a gradient count along: with averages of zero it makes no difference to them.
        where = mask.any() if key == "step" else mask
        kept.copy_(torch.where(where, tensor.expand_as(kept), kept))
