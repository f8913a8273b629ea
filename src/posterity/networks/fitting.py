"""One fitting loop for networks with a loss: shuffled batches, early stopping, a progress line.

The network's own class knows its loss and its data; nothing here knows what kind of network it is.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posterity.nn.predictive import forked
from posterity.runtime import Progress


@dataclass(frozen=True)
class FitResult:
    """What a fit did.

    Attributes:
        losses: `[num_epochs]`, the mean training loss of each epoch.
        validation_losses: `[num_epochs]`, the mean loss on the held-out examples after each epoch; empty without any.
        best_epoch: the epoch, from 0, whose weights the network has now; the last one without held-out examples.
    """

    losses: Tensor
    validation_losses: Tensor
    best_epoch: int


def fit_by_epochs(
    module: nn.Module,
    loss: Callable[..., Tensor],
    data: Sequence[Tensor],
    validation_data: Sequence[Tensor] = (),
    *,
    validation_loss: Callable[..., Tensor] | None = None,
    num_epochs: int = 500,
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    patience: int | None = 50,
    seed: int | None = None,
    progress: bool = True,
) -> FitResult:
    """Minimise a mean loss by AdamW over shuffled batches, and keep the weights that did best on held-out data.

    The network is left in eval mode. Interrupted by Ctrl-C, it has the best weights too.

    Args:
        module: the network, whose parameters with gradients are trained.
        loss: the mean loss of a batch, called with one slice of each tensor in `data`.
        data: tensors with the examples in their first dimension.
        validation_data: held-out tensors of the same kinds; empty for none.
        validation_loss: what is measured on them. Default: `loss`.
        num_epochs: the most passes over the data.
        batch_size: examples in a step.
        lr: AdamW's step size at the beginning; it falls to zero along half a cosine.
        weight_decay: AdamW's decay, per unit of `lr`.
        clip_norm: the greatest norm that all gradients together may have.
        patience: how many epochs without a better held-out loss end the fit; None: never.
        seed: of the batches' order and of the network's own draws. None takes one from torch's global generator.
        progress: whether a live line is shown.

    Returns:
        The losses, and which epoch was best.

    Raises:
        ValueError: if a number is out of range, there are no examples, or the tensors disagree about their number.
        FloatingPointError: if a loss is not finite; the network has its best weights until then.
        KeyboardInterrupt: after Ctrl-C.

    Example:
        >>> line, x = nn.Linear(1, 1), torch.linspace(-1, 1, 64).unsqueeze(-1)
        >>> result = fit_by_epochs(
        ...     line, lambda x, y: (line(x) - y).square().mean(), (x, 3 * x), lr=0.1, num_epochs=50, seed=0
        ... )
        >>> bool(result.losses[-1] < 0.1 * result.losses[0])
        True
    """
    count = check_fit_arguments(data, validation_data, num_epochs, batch_size, lr, weight_decay, clip_norm, patience)
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"fit: {type(module).__name__} has no parameters to train")
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
    measure = validation_loss or loss
    losses: list[float] = []
    held_out: list[float] = []
    best, best_epoch, best_state = math.inf, -1, None

    def step(batch: Sequence[Tensor]) -> Tensor:
        optimizer.zero_grad()
        value = loss(*batch)
        value.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        return value.detach()

    try:
        with forked(generator, module), Progress("Training", total=num_epochs, enabled=progress) as line:
            for epoch in range(num_epochs):
                module.train()
                for group in optimizer.param_groups:
                    group["lr"] = 0.5 * lr * (1 + math.cos(math.pi * epoch / num_epochs))
                order = torch.randperm(count, generator=generator).to(data[0].device)
                parts = [tuple(t[index] for t in data) for index in order.split(batch_size)]
                # One read for a whole epoch: on an accelerator each would wait.
                sizes = [len(part[0]) / count for part in parts]
                losses.append(
                    float(torch.stack([step(part) * size for part, size in zip(parts, sizes, strict=True)]).sum())
                )
                _check_finite("the loss", losses[-1], epoch)
                if validation_data:
                    held_out.append(_mean_loss(module, measure, validation_data, batch_size))
                    _check_finite("the held-out loss", held_out[-1], epoch)
                    if held_out[-1] < best:
                        best, best_epoch = held_out[-1], epoch
                        best_state = copy.deepcopy(module.state_dict())
                    if patience is not None and epoch - best_epoch >= patience:
                        break
                line.update(loss=losses[-1], **({"held_out": held_out[-1]} if held_out else {}))
    finally:
        if best_state is not None:
            module.load_state_dict(best_state)
        module.eval()
    return FitResult(torch.tensor(losses), torch.tensor(held_out), best_epoch if validation_data else len(losses) - 1)


def hold_out(data: Sequence[Tensor], fraction: float, seed: int | None) -> tuple[list[Tensor], list[Tensor]]:
    """Split examples at random into those to train on and those held out.

    Args:
        data: tensors with the examples in their first dimension.
        fraction: of the examples that is held out, in [0, 1); at least one example is, unless it is 0.
        seed: of the choice. None takes one from torch's global generator.

    Returns:
        The tensors to train on, and the held-out ones; the latter empty where the fraction is 0.

    Raises:
        ValueError: if the fraction is out of range, or nothing would be left to train on.

    Example:
        >>> train, held_out = hold_out((torch.arange(10),), 0.2, seed=0)
        >>> len(train[0]), len(held_out[0])
        (8, 2)
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fit: validation_fraction must be in [0, 1), got {fraction}")
    if fraction == 0:
        return list(data), []
    count = len(data[0])
    num_held_out = max(1, round(fraction * count))
    if num_held_out >= count:
        raise ValueError(f"fit: validation_fraction={fraction} of {count} examples leaves none to train on")
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    order = torch.randperm(count, generator=generator).to(data[0].device)
    held_out, kept = order[:num_held_out], order[num_held_out:]
    return [t[kept] for t in data], [t[held_out] for t in data]


def check_fit_arguments(
    data: Sequence[Tensor],
    validation_data: Sequence[Tensor],
    num_epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    clip_norm: float | None,
    patience: int | None,
) -> int:
    """Refuse what no fit can use, before any work; the number of examples.

    Raises:
        ValueError: naming the argument.
    """
    for name, value in (("num_epochs", num_epochs), ("batch_size", batch_size), ("patience", patience)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"fit: {name} must be a whole number of at least 1, got {value!r}")
    for name, number in (("lr", lr), ("clip_norm", clip_norm)):
        if number is not None and not 0 < number < math.inf:
            raise ValueError(f"fit: {name} must be positive, got {number!r}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"fit: weight_decay must be zero or positive, got {weight_decay!r}")
    for what, tensors in (("data", data), ("validation data", validation_data)):
        sizes = {len(t) for t in tensors}
        if len(sizes) > 1:
            shapes = " and ".join(str(list(t.shape)) for t in tensors)
            raise ValueError(f"fit: the tensors of the {what} differ in their number of examples: {shapes}")
        if sizes == {0} or (what == "data" and not sizes):
            raise ValueError(f"fit: the {what} hold no examples")
    return len(data[0])


@torch.no_grad()
def _mean_loss(module: nn.Module, loss: Callable[..., Tensor], data: Sequence[Tensor], batch_size: int) -> float:
    module.eval()
    count = len(data[0])
    parts = zip(*(t.split(batch_size) for t in data), strict=True)
    return float(torch.stack([loss(*part) * (len(part[0]) / count) for part in parts]).sum())


def _check_finite(what: str, value: float, epoch: int) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(
            f"fit: {what} became {value} in epoch {epoch}; a smaller lr or clip_norm= may help, or look for extreme "
            "values in the data"
        )
