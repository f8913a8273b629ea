"""Torch's recurrent networks, step by step: `torch.vmap` refuses the fused operations that they are made of."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# From the input's and the state's part of the gates, and the state, to the next state, whose first entry is the output.
Step = Callable[[Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


class StepByStep(TorchFunctionMode):
    """In this block the layers of `torch.nn.LSTM`, `GRU` and `RNN` are computed by plain operations.

    Packed sequences are left to torch.

    Example:
        >>> layer, x = torch.nn.GRU(3, 2), torch.randn(4, 1, 3)
        >>> with StepByStep():
        ...     output, last = layer(x)
        >>> torch.allclose(output, layer(x)[0], atol=1e-6)
        True
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        step = _STEPS.get(func)
        if step is None or not isinstance(args[3], bool):  # of packed sequences, the weights stand there
            return func(*args, **(kwargs or {}))
        if func is torch.lstm:
            output, (hidden, cell) = _run(step, *args)
            return output, hidden, cell
        x, hidden, *rest = args
        output, (hidden,) = _run(step, x, (hidden,), *rest)
        return output, hidden


def _run(
    step: Step,
    x: Tensor,
    start: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: bool,
    num_layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    directions = 2 if bidirectional else 1
    each = len(weights) // (num_layers * directions)
    x = x.transpose(0, 1) if batch_first else x
    last: list[tuple[Tensor, ...]] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            state = tuple(part[k] for part in start)
            of_x, of_state, *further = weights[k * each : (k + 1) * each]
            biases = further[:2] if bias else [None, None]
            projection = further[-1] if each in (3, 5) else None
            gates = F.linear(x, of_x, biases[0])
            steps = []
            for gate in reversed(gates.unbind()) if direction else gates.unbind():
                state = step(gate, F.linear(state[0], of_state, biases[1]), state)
                if projection is not None:
                    state = (F.linear(state[0], projection), *state[1:])
                steps.append(state[0])
            outputs.append(torch.stack(steps[::-1] if direction else steps))
            last.append(state)
        x = torch.cat(outputs, -1)
        if layer < num_layers - 1:
            x = F.dropout(x, dropout, training)
    states = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
    return x.transpose(0, 1) if batch_first else x, states


def _lstm(x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    entry, forget, candidate, output = (x + h).chunk(4, -1)
    cell = forget.sigmoid() * state[1] + entry.sigmoid() * candidate.tanh()
    return output.sigmoid() * cell.tanh(), cell


def _gru(x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (x_reset, x_update, x_new), (h_reset, h_update, h_new) = x.chunk(3, -1), h.chunk(3, -1)
    update = (x_update + h_update).sigmoid()
    new = (x_new + (x_reset + h_reset).sigmoid() * h_new).tanh()
    return (new + update * (state[0] - new),)


_STEPS: dict[Any, Step] = {
    torch.lstm: _lstm,
    torch.gru: _gru,
    torch.rnn_tanh: lambda x, h, state: ((x + h).tanh(),),
    torch.rnn_relu: lambda x, h, state: ((x + h).relu(),),
}
