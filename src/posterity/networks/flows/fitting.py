"""Fit a flow to data: epochs of gradient steps, early stopping on held-out rows, the best parameters kept."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.infer.capture import can_compile
from posterity.networks.flows.rows import Rows, as_rows, check_density, dequantization, split
from posterity.networks.flows.steps import EagerSteps, GraphSteps
from posterity.runtime import Progress

if TYPE_CHECKING:
    from posterity.networks.flows.normalizing_flow import NormalizingFlow

_STEPS, _LEAST_EPOCHS = 3000, 20
_BATCH, _LEAST_BATCHES = 256, 8
# Compiling takes some ten seconds, and saves about two milliseconds a step.
_WORTH_COMPILING = 10_000
_MOST_ROWS_AT_ONCE = 8192


class FlowFit(NamedTuple):
    """What a fit did. Losses are mean negative log densities in nats per row.

    Attributes:
        losses: `[num_epochs]`, over the steps of each epoch.
        validation_losses: `[num_epochs]`, of the held-out rows after each epoch.
        best_epoch: The epoch, from 0, whose parameters the flow has now; -1 for those before the first.
        best_loss: The held-out loss of those parameters.
        ended: `"finished"`, or `"early"` where the held-out loss had stopped falling.
    """

    losses: Tensor
    validation_losses: Tensor
    best_epoch: int
    best_loss: float
    ended: Literal["finished", "early"]


def fit_flow(
    flow: "NormalizingFlow",
    x: Any,
    context: Any,
    *,
    validation: float | Tensor | tuple[Any, Any],
    num_epochs: int | None,
    batch_size: int | None,
    lr: float,
    weight_decay: float,
    patience: int | None,
    clip_norm: float | None,
    dequantize: float | Sequence[float] | Tensor | None,
    progress: bool,
    seed: int | None,
    compiled: bool | Literal["auto"],
) -> FlowFit:
    """See `NormalizingFlow.fit`."""
    owner = type(flow).__name__
    _check_options(owner, num_epochs, batch_size, lr, weight_decay, patience, clip_norm, compiled)
    sizes = flow.features, flow.context_features
    rows = as_rows(owner, "x", flow.loc, x, context, *sizes)
    held_out = None
    if not isinstance(validation, float | int):
        its_x, its_context = validation if isinstance(validation, tuple) else (validation, None)
        held_out = as_rows(owner, "validation", flow.loc, its_x, its_context, *sizes)
    widths = dequantization(owner, dequantize, flow.loc, flow.features)
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    train, held_out = split(owner, rows, validation, held_out, generator)
    check_density(owner, train.x, widths)
    parameters = [p for p in flow.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"{owner}.fit: no parameter of the flow takes a gradient")

    size = min(batch_size or min(_BATCH, max(1, train.number // _LEAST_BATCHES)), train.number)
    num_batches = train.number // size
    num_epochs = num_epochs or max(_LEAST_EPOCHS, math.ceil(_STEPS / num_batches))
    patience = patience or max(10, num_epochs // 5)
    _standardise(flow, Rows(_noisy(train.x, widths, generator), train.context))
    shift = float(flow.scale.double().log().sum())
    held_out = _standardised(flow, Rows(_noisy(held_out.x, widths, generator), held_out.context))
    wanted = num_epochs * num_batches >= _WORTH_COMPILING and can_compile() if compiled == "auto" else compiled
    make = GraphSteps if wanted else EagerSteps
    steps = make(flow, parameters, lr, weight_decay, clip_norm)

    losses: list[float] = []
    validation_losses: list[float] = []
    best_epoch, best_loss, best = -1, _mean_loss(flow, held_out), _copies(flow)
    ended: Literal["finished", "early"] = "finished"
    try:
        with Progress("Fitting", total=num_epochs, enabled=progress) as line:
            for epoch in range(num_epochs):
                order = torch.randperm(train.number, generator=generator)[: num_batches * size].to(train.x.device)
                chosen = train.at(order)
                chosen = _standardised(flow, Rows(_noisy(chosen.x, widths, generator), chosen.context))
                rate = 0.5 * lr * (1 + math.cos(math.pi * epoch / num_epochs))
                flow.train()
                losses.append(float(steps.take(chosen, num_batches, rate).double().mean()) + shift)
                flow.eval()
                now = _mean_loss(flow, held_out)
                validation_losses.append(now + shift)
                if not math.isfinite(losses[-1]) or math.isnan(now):
                    raise FloatingPointError(
                        f"{owner}.fit: the loss is not finite in epoch {epoch}; the flow has {_those_of(best_epoch)}. "
                        "A smaller lr or clip_norm may help, or look for extreme rows"
                    )
                if now < best_loss:
                    best_epoch, best_loss, best = epoch, now, _copies(flow)
                line.update(loss=losses[-1], held_out=validation_losses[-1])
                if epoch - best_epoch >= patience:
                    ended = "early"
                    break
    except KeyboardInterrupt:
        warnings.warn(
            f"{owner}.fit was interrupted in epoch {len(validation_losses)}: the flow has {_those_of(best_epoch)}",
            stacklevel=3,
        )
        raise
    finally:
        steps.close()
        _restore(flow, best)
        flow.eval()
    return FlowFit(torch.tensor(losses), torch.tensor(validation_losses), best_epoch, best_loss + shift, ended)


def _those_of(epoch: int) -> str:
    when = f"of epoch {epoch}" if epoch >= 0 else "before it"
    return f"the best parameters so far, those {when}"


def _check_options(
    owner: str,
    num_epochs: int | None,
    batch_size: int | None,
    lr: float,
    weight_decay: float,
    patience: int | None,
    clip_norm: float | None,
    compiled: object,
) -> None:
    for name, value in (("num_epochs", num_epochs), ("batch_size", batch_size), ("patience", patience)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{owner}.fit: {name} must be a whole number of at least 1, not {value!r}")
    for name, number in (("lr", lr), ("clip_norm", clip_norm)):
        if number is not None and not 0 < number < math.inf:
            raise ValueError(f"{owner}.fit: {name} must be positive, not {number!r}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"{owner}.fit: weight_decay must be 0 or positive, not {weight_decay!r}")
    if compiled not in (True, False, "auto"):
        raise ValueError(f"{owner}.fit: compile must be True, False or 'auto', not {compiled!r}")


def _noisy(x: Tensor, widths: Tensor | None, generator: torch.Generator) -> Tensor:
    if widths is None:
        return x
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device) - 0.5
    return x + widths * noise


@torch.no_grad()
def _standardise(flow: "NormalizingFlow", rows: Rows) -> None:
    deviation, mean = torch.std_mean(rows.x, 0)
    flow.loc.copy_(mean)
    flow.scale.copy_(deviation)
    if rows.context is not None:
        deviation, mean = torch.std_mean(rows.context, 0)
        flow.context_loc.copy_(mean)
        constant = deviation <= 8 * torch.finfo(mean.dtype).eps * mean.abs()
        flow.context_scale.copy_(torch.where(constant, 1.0, deviation))


def _standardised(flow: "NormalizingFlow", rows: Rows) -> Rows:
    context = None if rows.context is None else (rows.context - flow.context_loc) / flow.context_scale
    return Rows((rows.x - flow.loc) / flow.scale, context)


@torch.no_grad()
def _mean_loss(flow: "NormalizingFlow", rows: Rows) -> float:
    total = 0.0
    for start in range(0, rows.number, _MOST_ROWS_AT_ONCE):
        part = rows.at(slice(start, start + _MOST_ROWS_AT_ONCE))
        log_prob = flow.standardised_log_prob(flow.at_standardised(part.context), part.x)
        total -= float(log_prob.double().sum())
    return total / rows.number


def _copies(flow: "NormalizingFlow") -> list[Tensor]:
    return [value.detach().clone() for value in flow.state_dict().values()]


@torch.no_grad()
def _restore(flow: "NormalizingFlow", copies: list[Tensor]) -> None:
    for value, copied in zip(flow.state_dict().values(), copies, strict=True):
        value.copy_(copied)
