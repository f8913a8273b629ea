"""Counts with more zeros than their family allows."""

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.gates import GatedDistribution, log_mix, two_sources
from posterity.kernels import Source


class ZeroInflated(GatedDistribution):
    r"""Zero with probability `gate`, else a draw of the base: $P(0) = gate + (1 - gate) \, p(0)$.

    Args:
        base_distribution: A distribution over integers, of this library or of torch's, whose support has the 0.
        gate: The probability of the additional zeros, in [0, 1]; it broadcasts against the batch.
        gate_logits: The log odds of the gate, in its place.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is no distribution.
        ValueError: The base is continuous or has no scalar events, both or neither of `gate` and `gate_logits` are
            given, or a value violates its constraint.

    Source: Lambert, Zero-Inflated Poisson Regression, 1992, https://doi.org/10.2307/1269547

    Example:
        >>> from posterity.distributions import Categorical
        >>> d = ZeroInflated(Categorical(torch.tensor([0.5, 0.5])), gate=0.5)
        >>> d.prob(torch.tensor([0, 1])), d.mean
        (tensor([0.7500, 0.2500]), tensor(0.2500))
    """

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        gate: Tensor | float | None = None,
        gate_logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(base_distribution, gate, gate_logits, validate_args)
        if not self.base_dist._is_discrete():
            raise ValueError(
                f"base_distribution of ZeroInflated must be over integers, but is {self.base_dist!r}: a continuous one "
                "with a mass at zero is a Hurdle."
            )

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """That of the base."""
        return self.base_dist.support  # type: ignore[return-value]

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the base lists its values."""
        return self.base_dist.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, `[num_values, *batch_shape]`."""
        return self.base_dist.enumerate_support(expand)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log mass at `value`, of shape `sample_shape + batch_shape`."""
        log_gate, log_open = self._log_gate()
        value = self._checked_value(value, support=True)
        drawn = log_open + self.base_dist.log_prob(value)
        return torch.where(value == 0, log_mix(log_gate.expand_as(drawn), drawn), drawn)

    def cdf(self, value: Tensor) -> Tensor:
        """P(Y <= value)."""
        return self.gate * (self._checked_value(value) >= 0) + (1 - self.gate) * self.base_dist.cdf(value)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(Y <= value)."""
        log_gate, log_open = self._log_gate()
        drawn = log_open + self.base_dist.log_cdf(value)
        return torch.where(self._checked_value(value) >= 0, log_mix(log_gate.expand_as(drawn), drawn), drawn)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(Y > value)."""
        return self.gate * (self._checked_value(value) < 0) + (1 - self.gate) * self.base_dist.survival_function(value)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(Y > value)."""
        log_gate, log_open = self._log_gate()
        drawn = log_open + self.base_dist.log_survival_function(value)
        return torch.where(self._checked_value(value) < 0, log_mix(log_gate.expand_as(drawn), drawn), drawn)

    @property
    def mean(self) -> Tensor:
        """The base's, times the probability that the gate is not taken."""
        return (1 - self.gate) * self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """Variance within the base, and between it and the additional zeros."""
        return (1 - self.gate) * (self.base_dist.variance + self.gate * self.base_dist.mean.square())

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape`."""
        with torch.no_grad():
            gate, base = two_sources(generator)
            return self._gated(self.base_dist.sample(sample_shape, generator=base), sample_shape, gate)
