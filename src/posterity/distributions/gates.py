"""The gate of a distribution with an extra zero: the probability of that zero, given as such or as log odds."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.bounded import scalar_base
from posterity.distributions.on_base import OnBase
from posterity.distributions.parameters import broadcast_parameters, exactly_one
from posterity.kernels import Key, Source, uniform


class GatedDistribution(OnBase):
    """What distributions that are zero with the probability `gate` have in common.

    Attributes:
        base_dist: What is mixed with the zero, expanded to the batch.
        gate: The probability of the gate.
        gate_logits: Its log odds.
    """

    arg_constraints = {"gate": constraints.unit_interval, "gate_logits": constraints.real}  # noqa: RUF012  # declared by torch's base
    has_rsample = False
    _instead_of_fit = "maximise the sum of log_prob over its parameters and the gate."

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        gate: Tensor | float | None = None,
        gate_logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        base = scalar_base(owner, base_distribution)
        ((name, given),) = exactly_one(owner, gate=gate, gate_logits=gate_logits).items()
        like = base._like()
        parameters: dict[str, Any] = {name: given, "base": like.new_zeros(base.batch_shape)}
        parameter, batch = broadcast_parameters(owner, **parameters)
        self.base_dist = base.expand(batch.shape)
        self.__dict__[name] = parameter.to(like.dtype)
        self._given = name
        Distribution.__init__(self, batch.shape, validate_args=validate_args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, {self._given} of shape {tuple(self.batch_shape)})"

    @lazy_property
    def gate(self) -> Tensor:
        """Probability of the gate."""
        return self.gate_logits.sigmoid()

    @lazy_property
    def gate_logits(self) -> Tensor:
        """Log odds of the gate."""
        return self.gate.log() - torch.log1p(-self.gate)

    def _log_gate(self) -> tuple[Tensor, Tensor]:
        """Logs of the probabilities that the gate is taken and that it is not."""
        if self._given == "gate_logits":
            return -torch.nn.functional.softplus(-self.gate_logits), -torch.nn.functional.softplus(self.gate_logits)
        gate = self.gate
        closed = gate > 0
        return torch.where(closed, torch.where(closed, gate, 1).log(), -torch.inf), torch.log1p(-gate)

    def _gated(self, draws: Tensor, sample_shape: _size, generator: Source) -> Tensor:
        """The draws with zeros where the gate is taken."""
        u = uniform(
            self._extended_shape(sample_shape), source=generator, dtype=self.gate.dtype, device=self.gate.device
        )
        return torch.where(u < self.gate, 0, draws)


def two_sources(generator: Source) -> tuple[Source, Source]:
    """Two independent sources: a key is a value, and would give both of its uses the same numbers."""
    if isinstance(generator, Key):
        first, second = generator.split()
        return first, second
    return generator, generator


def log_mix(log_first: Tensor, log_second: Tensor) -> Tensor:
    """`logaddexp` with finite gradients where both are minus infinity, or one is."""
    larger = torch.maximum(log_first, log_second)
    smaller = torch.minimum(log_first, log_second)
    finite = smaller > -torch.inf
    gap = torch.where(finite, smaller, 0) - torch.where(finite, larger, 0)
    return torch.where(finite, larger + torch.log1p(gap.exp()), larger)
