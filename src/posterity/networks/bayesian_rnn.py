"""Recurrent networks with random weights, which one draw holds for a whole sequence."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from posterity import nn as bnn
from posterity.networks.checks import check_count
from posterity.networks.lengths import check_lengths
from posterity.nn.conversion import as_random_module
from posterity.nn.layers import make_random
from posterity.nn.posteriors import Posterior
from posterity.nn.priors import PriorLike
from posterity.runtime import validation_enabled

_CELLS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class BayesianRNN(nn.Module):
    """An LSTM, GRU or plain recurrent network whose weights, and those of its head, are distributions.

    Weights are drawn once in a forward, for all steps and all layers: the same function is applied at every step, so
    that the bound of `elbo_loss` is that of one model of whole sequences. Drawing anew at every step would count the
    divergence of one draw against many.

    Args:
        input_size: the width of each step's input.
        hidden_size: the width of the state.
        output_size: the width of the head's output; None: no head, the states themselves.
        num_layers: recurrent layers on top of each other.
        cell: `"lstm"`, `"gru"` or `"rnn"` (tanh).
        outputs: `"all"`: one output per step, `[batch, time, output_size]`; `"channels"`: the same as
            `[batch, output_size, time]`, which is how `F.cross_entropy` and `predict(task="classification")` take
            dense logits; `"last"`: `[batch, output_size]`, after each sequence's own last step.
        bidirectional: whether a second network reads each sequence backwards.
        dropout: between recurrent layers.
        prior: a distribution over single numbers (`Normal(0, 1)`), a `Prior`. Default: `FanIn()`.
        posterior: the family. Default: `MeanFieldNormal()`.

    Raises:
        ValueError: if a size is not positive, the cell or the outputs are not known, or `dropout` is not in [0, 1).
        TypeError: for something that is not a prior or a posterior.

    Source: Fortunato, Blundell, Vinyals (2017), "Bayesian recurrent neural networks", section 3.

    Example:
        >>> import posterity as pt
        >>> net = BayesianRNN(3, 8, 1, cell="gru")
        >>> x, y, lengths = torch.randn(4, 10, 3), torch.randn(4, 10, 1), torch.tensor([10, 7, 4, 1])
        >>> counted = torch.arange(10) < lengths.unsqueeze(-1)
        >>> nll = (net(x, lengths) - y)[counted].square().mean() / 2
        >>> pt.elbo_loss(net, nll, num_data=1000).backward()
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        num_layers: int = 1,
        cell: str = "lstm",
        outputs: str = "all",
        bidirectional: bool = False,
        dropout: float = 0.0,
        prior: PriorLike | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            check_count("BayesianRNN", name, size)
        if output_size is not None:
            check_count("BayesianRNN", "output_size", output_size)
        if cell not in _CELLS:
            raise ValueError(f"BayesianRNN: cell must be 'lstm', 'gru' or 'rnn', got {cell!r}")
        if outputs not in ("all", "channels", "last"):
            raise ValueError(f"BayesianRNN: outputs must be 'all', 'channels' or 'last', got {outputs!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"BayesianRNN: dropout must be in [0, 1), got {dropout!r}")
        if dropout and num_layers == 1:
            raise ValueError("BayesianRNN: dropout is between recurrent layers, of which num_layers=1 has no pair")
        self.input_size, self.outputs = input_size, outputs
        rnn = _CELLS[cell](
            input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional, dropout=dropout
        )
        self.rnn: Any = as_random_module(rnn, tuple(rnn._parameters))
        make_random(self.rnn, prior, posterior, "reparam")
        width = hidden_size * (1 + bidirectional)
        self.head = (
            nn.Identity() if output_size is None else bnn.Linear(width, output_size, prior=prior, posterior=posterior)
        )

    def forward(self, x: Tensor | PackedSequence, lengths: Tensor | None = None) -> Tensor | PackedSequence:
        """One draw of the network, applied to a batch of sequences.

        Args:
            x: inputs, `[batch, time, input_size]`, or packed.
            lengths: how many steps of each sequence count, `[batch]` of whole numbers from 1 to `time`; what stands
                after them is not looked at. Default: all.

        Returns:
            What `outputs` says; zero after a sequence's end. Packed inputs give packed outputs (`outputs="last"`: a
            tensor).

        Raises:
            TypeError: if `lengths` are not whole numbers, or come beside packed inputs.
            ValueError: if shapes do not fit, lengths are out of range, or a value that counts is NaN or infinite.
        """
        packed = isinstance(x, PackedSequence)
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise TypeError("BayesianRNN: packed sequences know their lengths; leave lengths= out")
            _check_width(x.data, self.input_size, 2)
            inputs: Tensor | PackedSequence = x
        else:
            _check_width(x, self.input_size, 3)
            inputs = x
            if lengths is not None:
                check_lengths("BayesianRNN", lengths, *x.shape[:2])
                inputs = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        values = inputs.data if isinstance(inputs, PackedSequence) else inputs
        if validation_enabled() and not values.isfinite().all():
            raise ValueError(f"BayesianRNN: x has {int((~values.isfinite()).sum())} values that are NaN or infinite")
        states, last = self.rnn(inputs)
        if self.outputs == "last":
            hidden = last[0] if isinstance(last, tuple) else last
            count = 1 + int(self.rnn.bidirectional)
            return self.head(torch.cat(hidden[-count:].unbind(0), -1))  # type: ignore[no-any-return]
        if isinstance(states, PackedSequence):
            states = states._replace(data=self.head(states.data))
            if packed:
                return states
            assert isinstance(x, Tensor)
            result, _ = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])
        else:
            result = self.head(states)
        return result.mT if self.outputs == "channels" else result

    def extra_repr(self) -> str:
        """What the outputs are."""
        return f"outputs={self.outputs!r}"


def _check_width(x: Any, width: int, rank: int) -> None:
    wanted = f"[batch, time, input_size={width}]" if rank == 3 else f"[steps, input_size={width}]"
    if not isinstance(x, Tensor):
        raise TypeError(f"BayesianRNN: x must be a tensor {wanted} or a PackedSequence, got {type(x).__name__}")
    if x.dim() != rank or x.shape[-1] != width or not x.numel():
        raise ValueError(f"BayesianRNN: x must have shape {wanted}, got {list(x.shape)}")
