"""Gradient steps on the likelihood of a flow, an epoch of them at a time: eager, or as one compiled graph."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from posterity.infer.optimizers import clipped, rules, scheduled, updated
from posterity.infer.packing import Packing
from posterity.infer.replay import Replay
from posterity.networks.flows.rows import Rows

if TYPE_CHECKING:
    from posterity.networks.flows.normalizing_flow import NormalizingFlow

_STEPS_AT_ONCE = 50


class EagerSteps:
    """Steps as torch takes them.

    Args:
        flow: The flow.
        parameters: What is trained.
        lr: AdamW's learning rate.
        weight_decay: AdamW's decay.
        clip_norm: The greatest norm of the gradients; None: any.
    """

    def __init__(
        self,
        flow: "NormalizingFlow",
        parameters: Sequence[nn.Parameter],
        lr: float,
        weight_decay: float,
        clip_norm: float | None,
    ) -> None:
        self._flow, self._parameters, self._clip_norm = flow, list(parameters), clip_norm
        self._optimizer = _optimizer(parameters, lr, weight_decay)

    def take(self, rows: Rows, num_batches: int, rate: float) -> Tensor:
        """Take a step on each of so many batches of standardised rows; the losses before them, `[num_batches]`."""
        self._optimizer.param_groups[0]["lr"] = rate
        size = rows.number // num_batches
        losses = []
        for start in range(0, size * num_batches, size):
            batch = rows.at(slice(start, start + size))
            self._optimizer.zero_grad()
            loss = _loss(self._flow, batch)
            loss.backward()
            if self._clip_norm is not None:
                nn.utils.clip_grad_norm_(self._parameters, self._clip_norm, foreach=True)
            self._optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def close(self) -> None:
        """Let go of the gradients."""
        self._optimizer.zero_grad()


class GraphSteps:
    """The same steps, each a replay of one compiled graph; arguments are those of `EagerSteps`."""

    def __init__(
        self,
        flow: "NormalizingFlow",
        parameters: Sequence[nn.Parameter],
        lr: float,
        weight_decay: float,
        clip_norm: float | None,
    ) -> None:
        self._flow, self._parameters, self._clip_norm = flow, list(parameters), clip_norm
        self._optimizer = _optimizer(parameters, lr, weight_decay)
        found = rules(self._optimizer)
        assert found is not None
        self._packs = Packing(self._optimizer, found).packs
        self._rates = [
            torch.tensor(number, dtype=torch.float64) for number in scheduled(self._optimizer.param_groups[0])
        ]
        self._replay: Replay | None = None

    def take(self, rows: Rows, num_batches: int, rate: float) -> Tensor:
        """As `EagerSteps.take`."""
        batches = [table.unflatten(0, (num_batches, -1)).contiguous() for table in rows if table is not None]
        if self._replay is None:
            self._replay = self._capture([table[0].clone() for table in batches])
        self._rates[0].fill_(rate)
        losses = rows.x.new_empty(num_batches)
        first = len(self._replay.inputs) - len(batches)
        # In parts, between which Ctrl-C is heard.
        for start in range(0, num_batches, _STEPS_AT_ONCE):
            part = slice(start, start + _STEPS_AT_ONCE)
            self._replay.loop(
                len(losses[part]),
                advancing=[(first + i, table[part]) for i, table in enumerate(batches)],
                collecting=[(0, losses[part])],
            )
        return losses

    def close(self) -> None:
        """Give each parameter memory of its own again."""
        for parameter in self._parameters:
            parameter.data = parameter.data.clone()

    def _capture(self, batch: list[Tensor]) -> Replay:
        names = {id(p): name for name, p in self._flow.named_parameters()}
        packs = self._packs
        keys = [list(pack.state) for pack in packs]
        states = [pack.state[key] for pack, own in zip(packs, keys, strict=True) for key in own]

        def step(*tensors: Tensor) -> Tensor:
            given = iter(tensors)
            values = [next(given) for _ in packs]
            kept = [{key: next(given) for key in own} for own in keys]
            rates = [next(given) for _ in self._rates]
            rows = Rows(next(given), next(given, None))
            with torch.enable_grad():
                roots = [
                    [part.detach().requires_grad_() for part in pack.parts(value)]
                    for pack, value in zip(packs, values, strict=True)
                ]
                placed = {
                    names[id(self._parameters[i])]: root
                    for pack, parts in zip(packs, roots, strict=True)
                    for i, root in zip(pack.members, parts, strict=True)
                }
                loss: Tensor = functional_call(_Loss(self._flow), {f"flow.{k}": v for k, v in placed.items()}, (rows,))
                found = iter(torch.autograd.grad(loss, [root for parts in roots for root in parts], allow_unused=True))
            gradients = []
            for pack, parts in zip(packs, roots, strict=True):
                own = [torch.zeros_like(root) if (g := next(found)) is None else g for root in parts]
                gradients.append(pack.whole(own))
            gradients = clipped(gradients, self._clip_norm, None)
            for pack, value, state, gradient in zip(packs, values, kept, gradients, strict=True):
                several = len(pack.members) > 1
                one = {key: t[0] if several and key == "step" else t for key, t in state.items()}
                new, new_state = updated(pack.rule, value, gradient, one, rates)
                value.copy_(new)
                for key, tensor in new_state.items():
                    state[key].copy_(tensor.expand_as(state[key]))
            return loss.detach()

        example = [*(pack.value for pack in packs), *states, *self._rates, *batch]
        # Capturing runs the step; what it writes to is put back.
        before = [tensor.clone() for tensor in example[: -len(batch)]]
        replay = Replay(step, example)
        for tensor, was in zip(example, before, strict=False):
            tensor.copy_(was)
        return replay


class _Loss(nn.Module):
    def __init__(self, flow: "NormalizingFlow") -> None:
        super().__init__()
        self.flow = flow

    def forward(self, rows: Rows) -> Tensor:
        return _loss(self.flow, rows)


def _loss(flow: "NormalizingFlow", rows: Rows) -> Tensor:
    return -flow.standardised_log_prob(flow.at_standardised(rows.context), rows.x).mean()


def _optimizer(parameters: Sequence[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
