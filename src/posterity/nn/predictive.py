"""Outputs of a stochastic module under many draws: the fallback of the prediction protocol.

A module takes part in prediction by `predictive_draws(x, num_samples, generator)`, which returns the network's raw
outputs stacked on a new first dimension (a tensor, or a tuple of tensors), or a list of distributions.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from posterity.kernels import Generator, Key
from posterity.nn.linear import Linear
from posterity.nn.random_module import RandomModule, close_draw, open_draw
from posterity.nn.random_parameter import Draw
from posterity.ppl.stack import outside_programs

# Rows (draws times examples) of one vectorised forward, so that its memory stays bounded.
_MAX_ROWS = 8192


def stochastic_draws(module: nn.Module, x: Any, num_samples: int, generator: Generator = None) -> Any:
    """Run a stochastic module `num_samples` times.

    Every forward draws the module's weights once for the whole batch. A network whose random layers all have
    `estimator="local"` draws no weights, and all its draws run as one vectorised forward where its code allows.

    Args:
        module: any module; each call of it is one draw.
        x: its input: a tensor, a tuple (positional arguments) or a mapping (keyword arguments).
        num_samples: number of draws.
        generator: source of the draws. Default: torch's global generator; it is left untouched when one is given.

    Returns:
        Tensor `[num_samples, batch, ...]`, a tuple of such tensors, or a list of `num_samples` distributions.

    Example:
        >>> from posterity import nn as bnn
        >>> stochastic_draws(bnn.Linear(3, 2), torch.ones(5, 3), num_samples=4).shape
        torch.Size([4, 5, 2])
    """
    with forked(generator, module), outside_programs():
        if isinstance(x, Tensor) and _draws_outputs(module) and not torch.is_grad_enabled():
            if x.dim() == 2 and _row_by_row(module):
                return _in_blocks(_as_rows, module, x, num_samples)
            # Not everything can be vectorised: outputs that are no tensors, branches on values, torch's LSTM.
            with suppress(RuntimeError, ValueError), _unchanged(module):
                return _in_blocks(_vectorized, module, x, num_samples)
        return stack_outputs([call(module, x) for _ in range(num_samples)])


def call(module: nn.Module, x: Any) -> Any:
    """The module on one input: a tensor, a tuple of positional arguments, or a mapping of keyword arguments."""
    if isinstance(x, Mapping):
        return module(**x)
    if isinstance(x, tuple):
        return module(*x)
    return module(x)


def stack_outputs(outputs: list[Any]) -> Any:
    """Outputs of several draws as one: tensors stacked on a new first dimension, distributions left as a list.

    Raises:
        TypeError: if an output is neither a tensor, a tuple of tensors, an object with `logits`, nor a distribution.
    """
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.stack(outputs)
    if isinstance(first, torch.distributions.Distribution):
        return outputs
    if isinstance(getattr(first, "logits", None), Tensor):
        return torch.stack([output.logits for output in outputs])
    if isinstance(first, tuple | list) and first and all(isinstance(part, Tensor) for part in first):
        return tuple(torch.stack(part) for part in zip(*outputs, strict=True))
    raise TypeError(
        f"the network returned {type(first).__name__}; a prediction needs a tensor, a (mean, scale) tuple, "
        "an object with `logits`, or a Distribution"
    )


@contextmanager
def forked(generator: Generator, module: nn.Module) -> Iterator[None]:
    """Draw from `generator` inside, whatever the module's layers draw with, and leave torch's own generators alone."""
    if generator is None:
        yield
        return
    if isinstance(generator, Key):
        high, low = generator.fold_in(generator.stream).data.tolist()
        seed = (high & 0x7FFFFFFF) << 32 | low & 0xFFFFFFFF
    else:
        seed = int(torch.randint(0, 2**62, (), generator=generator, device=generator.device))
    kind = next((p.device.type for p in module.parameters() if p.device.type not in ("cpu", "meta")), None)
    if kind is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators too
            yield
    else:
        every_device = range(torch.get_device_module(kind).device_count())
        with torch.random.fork_rng(every_device, device_type=kind):
            torch.manual_seed(seed)
            yield


def _draws_outputs(module: nn.Module) -> bool:
    """Whether all randomness below the module is in layers that draw outputs, not weights (`estimator="local"`)."""
    found = False
    for m in module.modules():
        if m._forward_hooks or m._forward_pre_hooks:
            return False  # they must run once a draw
        if isinstance(m, RandomModule) and m._random:
            found = True
            # A draw that is open around this one is used, and must not be left with tensors of vmap.
            if m._estimator != "local" or any(random.slot() is not None for random in m._random.values()):
                return False
    return found


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Put back what a vectorised forward stored on its modules, and refuse its result: vmap's tensors die with it."""
    before = [(m, dict(m.__dict__), dict(m._buffers)) for m in module.modules()]
    changed = False
    try:
        yield
    finally:
        for m, attributes, buffers in before:
            if not (_same(m.__dict__, attributes) and _same(m._buffers, buffers)):
                changed = True
                m.__dict__.clear()
                m.__dict__.update(attributes)
                m._buffers.clear()
                m._buffers.update(buffers)
    if changed:
        raise ValueError("the network stores tensors on itself")


def _same(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return now.keys() == before.keys() and all(now[key] is before[key] for key in now)


def _in_blocks(draws: Callable[[nn.Module, Tensor, int], Any], module: nn.Module, x: Tensor, num_samples: int) -> Any:
    """All draws, as many at once as memory allows; a first layer's mean and variance are computed once for each."""
    block = max(1, _MAX_ROWS // max(x.shape[0], 1))
    parts = [draws(module, x, min(block, num_samples - start)) for start in range(0, num_samples, block)]
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _vectorized(module: nn.Module, x: Tensor, num_samples: int) -> Any:
    """The draws as one vectorised forward."""
    count = torch.arange(num_samples, device=x.device)
    return torch.vmap(lambda _: _only_tensors(module(x)), randomness="different")(count)


def _as_rows(module: nn.Module, x: Tensor, num_samples: int) -> Tensor:
    """The draws as so many more examples of one plain forward, which spares a small batch the price of `vmap`."""
    draw = Draw(copies=num_samples)
    try:
        open_draw(module, draw)
        rows: Tensor = module(x)
    finally:
        close_draw(draw)
    return rows.reshape(num_samples, x.shape[0], -1)


def _row_by_row(module: nn.Module) -> bool:
    """Whether the module surely treats each row by itself: dense layers and elementwise functions in sequence."""
    for m in module.modules():
        own = vars(type(m)).get("_generated_from") or type(m)
        # In training, dropout before the first random layer would be the same for all draws.
        if own not in _ROW_BY_ROW or m.training or "forward" in vars(m):
            return False
        if isinstance(m, Linear) and "weight" not in m._random:
            return False
    return True


_ACTIVATIONS = {nn.ELU, nn.GELU, nn.LeakyReLU, nn.ReLU, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Tanh}
_ROW_BY_ROW = {nn.Sequential, Linear, nn.Linear, nn.Dropout, nn.Identity} | _ACTIVATIONS


def _only_tensors(output: Any) -> Any:
    several = isinstance(output, tuple | list) and bool(output) and all(isinstance(part, Tensor) for part in output)
    if not (isinstance(output, Tensor) or several):
        raise ValueError(f"vmap does not stack {type(output).__name__}")
    return tuple(output) if several else output
