"""Many small parameters as few long tensors, so that a graph's work on them is one loop, not hundreds.

The parameters stay where they are: their storage moves into the long tensor, and so does that of what the optimizer
keeps for them.
"""

from collections import defaultdict
from typing import NamedTuple

import torch
from torch import Tensor

from posterity.infer.optimizers import Rule, state_of

# Parameters of more numbers than this gain nothing, and putting their gradients together would cost a copy.
_SMALL = 2**14


class Pack(NamedTuple):
    """Parameters that are updated together.

    Attributes:
        members: Which parameters, by their place in the optimizer.
        shapes: Their shapes.
        value: Their values: one after the other, `[size]`, or the only member's as it is.
        state: What the optimizer keeps for them, alike; `step` counts each member's own, `[num_members]` or a scalar.
        rule: How they are updated.
        group: Which of the optimizer's groups they belong to.
    """

    members: tuple[int, ...]
    shapes: tuple[torch.Size, ...]
    value: Tensor
    state: dict[str, Tensor]
    rule: Rule
    group: int

    def parts(self, whole: Tensor) -> list[Tensor]:
        """Each member's part of a tensor like `value`."""
        if len(self.members) == 1:
            return [whole]
        sizes = [shape.numel() for shape in self.shapes]
        return [part.view(shape) for part, shape in zip(whole.split(sizes), self.shapes, strict=True)]

    def whole(self, parts: list[Tensor]) -> Tensor:
        """One tensor like `value` of the members' parts."""
        return parts[0] if len(self.members) == 1 else torch.cat([part.reshape(-1) for part in parts])


class Packing:
    """The parameters of an optimizer in packs.

    Args:
        optimizer: The optimizer; its parameters and its state are moved, not changed.
        rules: How each parameter is updated.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rules: list[Rule]) -> None:
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        groups = [i for i, group in enumerate(optimizer.param_groups) for _ in group["params"]]
        states = [state_of(optimizer, p, rule) for p, rule in zip(self.parameters, rules, strict=True)]
        alike: dict[object, list[int]] = defaultdict(list)
        for i, p in enumerate(self.parameters):
            small = p.numel() <= _SMALL
            count = float(states[i]["step"]) if "step" in states[i] else 0.0
            alike[(groups[i], p.dtype, p.device, count) if small else i].append(i)
        self.packs = [self._pack(members, states, rules, groups, optimizer) for members in alike.values()]
        self._places = [p.data_ptr() for p in self.parameters]

    def is_stale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether somebody has moved the parameters or replaced the optimizer's state since."""
        current = [p for group in optimizer.param_groups for p in group["params"]]
        if len(current) != len(self.parameters) or any(
            a is not b for a, b in zip(current, self.parameters, strict=True)
        ):
            return True
        if [p.data_ptr() for p in current] != self._places:
            return True
        return any(
            optimizer.state[current[i]][key].data_ptr() != part.data_ptr()
            for pack in self.packs
            for key, value in pack.state.items()
            for i, part in zip(pack.members, _of_members(pack, key, value), strict=True)
        )

    def _pack(
        self,
        members: list[int],
        states: list[dict[str, Tensor]],
        rules: list[Rule],
        groups: list[int],
        optimizer: torch.optim.Optimizer,
    ) -> Pack:
        first = members[0]
        parameters = [self.parameters[i] for i in members]
        shapes = tuple(p.shape for p in parameters)
        if len(members) == 1:
            return Pack((first,), shapes, parameters[0].detach(), states[first], rules[first], groups[first])
        value = torch.cat([p.detach().reshape(-1) for p in parameters])
        state = {
            key: torch.stack([states[i][key] for i in members])
            if key == "step"
            else torch.cat([states[i][key].reshape(-1) for i in members])
            for key in states[first]
        }
        pack = Pack(tuple(members), shapes, value, state, rules[first], groups[first])
        for p, part in zip(parameters, pack.parts(value), strict=True):
            p.data = part
        for key, tensor in state.items():
            for p, part in zip(parameters, _of_members(pack, key, tensor), strict=True):
                optimizer.state[p][key] = part
        return pack


def _of_members(pack: Pack, key: str, tensor: Tensor) -> list[Tensor]:
    if key == "step" and len(pack.members) > 1:
        return list(tensor.unbind(0))
    return pack.parts(tensor)
