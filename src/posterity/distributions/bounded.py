"""What truncated, censored and quantized distributions have in common: a base and two ends that share its batch."""

import math
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.bijectors.registry import register_with_torch
from posterity.distributions.base import Distribution
from posterity.distributions.lifted import lift
from posterity.distributions.on_base import OnBase
from posterity.distributions.parameters import broadcast_parameters
from posterity.distributions.supports import support_ends


class Bounded(OnBase):
    """A scalar distribution made from a base and the ends `low` and `high`, either of which may be None."""

    low: Tensor | None
    high: Tensor | None

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = super().expand(batch_shape, _instance)
        new.low = None if self.low is None else self.low.expand(new.batch_shape)
        new.high = None if self.high is None else self.high.expand(new.batch_shape)
        return new


def bounded(
    owner: str,
    base_distribution: torch.distributions.Distribution,
    low: Tensor | float | None,
    high: Tensor | float | None,
) -> tuple[Distribution, Tensor | None, Tensor | None]:
    """A scalar base and its bounds, of one batch shape.

    Raises:
        TypeError: The base is no distribution, or a bound no real number or tensor.
        ValueError: Events are not scalar, or shapes do not broadcast.
    """
    base = scalar_base(owner, base_distribution)
    like = base._like()
    given = {name: bound for name, bound in (("low", low), ("high", high)) if not _endless(bound)}
    tensors = broadcast_parameters(owner, base=like.new_zeros(base.batch_shape), **given)  # type: ignore[arg-type]
    found = dict(zip(("base", *given), tensors, strict=True))
    kept = [found[name].to(like.dtype) if name in found else None for name in ("low", "high")]
    return base.expand(found["base"].shape), kept[0], kept[1]


def scalar_base(owner: str, base_distribution: torch.distributions.Distribution) -> Distribution:
    """A scalar distribution as one of this library's.

    Raises:
        TypeError: It is no distribution.
        ValueError: Its events are not scalar.
    """
    if not isinstance(base_distribution, torch.distributions.Distribution):
        raise TypeError(f"base_distribution of {owner} must be a distribution, not {type(base_distribution).__name__}.")
    if base_distribution.event_shape:
        raise ValueError(
            f"base_distribution of {owner} must have scalar events, but those of {type(base_distribution).__name__} "
            f"have the shape {tuple(base_distribution.event_shape)}."
        )
    return lift(base_distribution)


def common_ends(base: Distribution, low: Tensor | None, high: Tensor | None) -> tuple[Tensor, Tensor]:
    """The ends of what the base's support and `[low, high]` have in common; whole numbers for a discrete base."""
    lower, upper = support_ends(base)
    low = low if low is None or not base._is_discrete() else low.ceil()
    high = high if high is None or not base._is_discrete() else high.floor()
    return lower if low is None else low.maximum(lower), upper if high is None else high.minimum(upper)


def bounded_support(
    base: Distribution, low: Tensor | None, high: Tensor | None, lower: Tensor, upper: Tensor
) -> constraints.Constraint:
    """`[lower, upper]` as a constraint that names only the ends that there are."""
    if base._is_discrete():
        return constraints.integer_interval(lower, upper)
    support = cast(constraints.Constraint, base.support)
    has_lower = low is not None or hasattr(support, "lower_bound")
    has_upper = high is not None or hasattr(support, "upper_bound")
    if has_lower and has_upper:
        return constraints.interval(lower, upper)
    if has_lower:
        return constraints.greater_than_eq(lower)
    return _LessThanEq(upper) if has_upper else support  # type: ignore[no-untyped-call]  # torch's constructor


class _LessThanEq(constraints.less_than):
    """`less_than` with its bound, which torch lacks."""

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = value <= self.upper_bound
        return inside


register_with_torch(_LessThanEq)


def holds(d: Distribution, valid: Tensor) -> bool:
    """Whether a condition on parameters holds everywhere; read only where values are checked."""
    return not d._checks_values() or valid.is_meta or bool(torch._is_all_true(valid))


def _endless(bound: Tensor | float | None) -> bool:
    return bound is None or (isinstance(bound, float) and math.isinf(bound))
