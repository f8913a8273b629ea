"""One whole step of variational inference as a compiled graph: draw, objective, gradient, optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils import _pytree as pytree

from posterity.infer.capture import capture
from posterity.infer.objective import Objective
from posterity.infer.optimizers import clipped, rules, state_of, updated
from posterity.infer.parameters import Parameters
from posterity.infer.simulation import Program
from posterity.kernels.noise_tape import Pools


class GraphStep:
    """A compiled step for arguments of one structure; parameters and optimizer state are changed in place.

    Args:
        objective: The bound.
        model: The model.
        guide: The guide.
        parameters: What is trained.
        optimizer: Adam, AdamW or SGD over those parameters.
        args: Arguments of the programs.
        kwargs: Their keyword arguments.
        pools: Noise for one estimate.
        state: The objective's state.
        clip_norm: The greatest norm of the gradients.
        clip_value: Their greatest absolute value.

    Raises:
        ValueError: The optimizer is none of those.
        RuntimeError: The programs cannot be captured.
    """

    def __init__(
        self,
        objective: Objective,
        model: Program,
        guide: Program,
        parameters: Parameters,
        optimizer: torch.optim.Optimizer,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        pools: Pools,
        state: Mapping[str, Tensor],
        clip_norm: float | None,
        clip_value: float | None,
    ) -> None:
        found = rules(optimizer)
        if found is None:
            raise ValueError(
                f"SVI: a step of {type(optimizer).__name__} with these options cannot be compiled, only those of Adam "
                "and AdamW without amsgrad, and SGD: use one of them, or compile=False"
            )
        self._optimizer = optimizer
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        names = {id(p): name for name, p in parameters.named_parameters()}
        states = [state_of(optimizer, p, rule) for p, rule in zip(trained, found, strict=True)]
        groups = [i for i, group in enumerate(optimizer.param_groups) for _ in group["params"]]
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
                roots = [v.detach().requires_grad_() for v in values]
                swapped = {names[id(p)]: root for p, root in zip(trained, roots, strict=True)}
                estimate = functional_call(
                    parameters,
                    {**swapped, **buffers},
                    (lambda: objective.estimate(model, guide, own_args, own_kwargs, noise, before),),
                )
                gradients = torch.autograd.grad(estimate.surrogate, roots, allow_unused=True)
            used = [i for i, g in enumerate(gradients) if g is not None]
            shortened = clipped([g for g in gradients if g is not None], clip_norm, clip_value)
            good = torch.stack([estimate.loss.isfinite(), *(g.isfinite().all() for g in shortened)]).all()
            for i, gradient in zip(used, shortened, strict=True):
                new, new_state = updated(found[i], values[i], gradient, kept[i], rates[groups[i]])
                values[i].copy_(torch.where(good, new, values[i]))
                for key, value in new_state.items():
                    kept[i][key].copy_(torch.where(good, value, kept[i][key]))
            after_names[:] = estimate.state
            after = [torch.where(good, v.detach(), before[name]) for name, v in estimate.state.items()]
            return torch.where(good, estimate.loss, torch.nan), *after

        self._rates = [torch.as_tensor(group["lr"], dtype=torch.float64) for group in optimizer.param_groups]
        example, inputs = pytree.tree_flatten(
            (
                [p.detach() for p in trained],
                states,
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
