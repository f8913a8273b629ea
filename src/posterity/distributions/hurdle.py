"""Zero or positive: two decisions, whether there is anything at all, and how much."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.bounded import holds
from posterity.distributions.gates import GatedDistribution, log_mix, two_sources
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.supports import point_inside, support_ends
from posterity.distributions.truncated import Truncated
from posterity.kernels import Source


class Hurdle(GatedDistribution):
    r"""Zero with probability `gate`, else a draw of the base given that it is positive.

    With a continuous base it is neither discrete nor continuous: `log_prob` is the log of the mass at zero, and of the
    density above it.

    Args:
        base_distribution: A scalar distribution, of this library or of torch's, with positive values.
        gate: The probability of zero, in [0, 1]; it broadcasts against the batch.
        gate_logits: The log odds of the gate, in its place.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is no distribution.
        ValueError: It has no scalar events or no positive values, both or neither of `gate` and `gate_logits` are
            given, or a value violates its constraint.

    Source: Mullahy, Specification and Testing of Some Modified Count Data Models, 1986,
    https://doi.org/10.1016/0304-4076(86)90002-3

    Example:
        >>> from posterity.distributions import Exponential
        >>> d = Hurdle(Exponential(1.0), gate=0.25)
        >>> d.prob(torch.tensor([0.0, 1.0])), d.mean
        (tensor([0.2500, 0.2759]), tensor(0.7500))
    """

    positive: Distribution

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        gate: Tensor | float | None = None,
        gate_logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(base_distribution, gate, gate_logits, validate_args)
        if not holds(self, support_ends(self.base_dist)[1] > 0):
            raise ValueError(f"base_distribution of Hurdle must have positive values, but is {self.base_dist!r}.")
        self._discrete = self.base_dist._is_discrete()
        least = getattr(self.base_dist.support, "lower_bound", None)
        # A base that is positive as it is keeps its closed forms.
        already = isinstance(least, int | float) and (least > 0 or (least == 0 and not self._discrete))
        self.positive = self.base_dist if already else Truncated(self.base_dist, low=1.0 if self._discrete else 0.0)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = super().expand(batch_shape, _instance)
        new.positive = self.positive.expand(new.batch_shape)
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Zero, and the positive values of the base."""
        _, upper = support_ends(self.base_dist)
        if self._discrete:
            return constraints.integer_interval(torch.zeros_like(upper), upper)
        bounded = hasattr(self.base_dist.support, "upper_bound")
        return constraints.interval(torch.zeros_like(upper), upper) if bounded else constraints.nonnegative

    def log_prob(self, value: Tensor) -> Tensor:
        """Log mass at zero, log density or mass above it, of shape `sample_shape + batch_shape`."""
        log_gate, log_open = self._log_gate()
        value = self._checked_value(value, support=True)
        above = value > 0
        inner = torch.where(above, value, point_inside(self.positive).detach().to(value.dtype))
        return torch.where(above, log_open + self.positive.log_prob(inner), log_gate)

    def cdf(self, value: Tensor) -> Tensor:
        """P(Y <= value)."""
        value, reached, inner = self._split(value)
        return torch.where(reached, self.gate + (1 - self.gate) * self.positive.cdf(inner), 0)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(Y <= value)."""
        log_gate, log_open = self._log_gate()
        value, reached, inner = self._split(value)
        drawn = log_open + self.positive.log_cdf(inner)
        return torch.where(reached, log_mix(log_gate.expand_as(drawn), drawn), -torch.inf)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(Y > value)."""
        value, reached, inner = self._split(value)
        return torch.where(reached, (1 - self.gate) * self.positive.survival_function(inner), 1)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(Y > value)."""
        value, reached, inner = self._split(value)
        return torch.where(reached, self._log_gate()[1] + self.positive.log_survival_function(inner), 0)

    def icdf(self, value: Tensor) -> Tensor:
        """The least value below which lies the probability `value`."""
        if self._discrete:
            return super().icdf(value)
        level = self._checked_level(value)
        inside = level > self.gate
        rest = torch.where(inside, (level - self.gate) / (1 - self.gate), 0.5).clamp(0, 1)
        return torch.where(inside, self.positive.icdf(rest), 0)

    @property
    def mean(self) -> Tensor:
        """The mean of the positive part, times its probability."""
        return (1 - self.gate) * self.positive.mean

    @property
    def variance(self) -> Tensor:
        """Variance within the positive part, and between it and zero."""
        return (1 - self.gate) * (self.positive.variance + self.gate * self.positive.mean.square())

    @property
    def mode(self) -> Tensor:
        """The most probable value, of a discrete base only."""
        if self._discrete:
            return super().mode
        raise NotImplementedError(
            "Hurdle.mode is undefined for a continuous base: the mass at zero cannot be compared with the density "
            "above it."
        )

    def entropy(self) -> Tensor:
        """Entropy of the gate, plus that of the positive part times its probability, in nats."""
        log_gate, log_open = self._log_gate()
        weights = ((self.gate, log_gate), (1 - self.gate, log_open))
        gates = [torch.where(p > 0, p * torch.where(p > 0, log_p, 0), 0) for p, log_p in weights]
        return (1 - self.gate) * self.positive.entropy() - gates[0] - gates[1]

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape`."""
        with torch.no_grad():
            gate, base = two_sources(generator)
            return self._gated(self.positive.sample(sample_shape, generator=base), sample_shape, gate)

    def _expectation(self, function: Any) -> Tensor:
        zero = torch.zeros_like(self.gate)
        total: Tensor = self.gate * function(zero) + (1 - self.gate) * self.positive._expectation(function)
        return total

    def _landmarks(self) -> Tensor:
        return self.positive._landmarks()

    def _split(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The value, whether it reaches zero, and itself or, where it does not, some value that does."""
        value = self._checked_value(value)
        reached = value >= 0
        return value, reached, torch.where(reached, value, point_inside(self.positive).detach().to(value.dtype))


@register_kl(Hurdle, Hurdle)
def _kl_hurdle_hurdle(p: Hurdle, q: Hurdle) -> Tensor:
    gates = torch.zeros_like(p.gate)
    for weight, mine, theirs in zip((p.gate, 1 - p.gate), p._log_gate(), q._log_gate(), strict=True):
        gates = gates + torch.where(weight > 0, weight * (torch.where(weight > 0, mine, 0) - theirs), 0)
    return gates + (1 - p.gate) * kl_divergence(p.positive, q.positive)


@register_kl(Hurdle, torch.distributions.Distribution)
def _kl_hurdle_distribution(p: Hurdle, q: torch.distributions.Distribution) -> Tensor:
    if p._discrete:
        raise NotImplementedError("summed over the values")
    # A continuous q has no mass at zero.
    return p._like().new_full(torch.broadcast_shapes(p.batch_shape, q.batch_shape), torch.inf)
