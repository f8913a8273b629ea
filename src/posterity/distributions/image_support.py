"""The support that a bijector maps a part of its domain onto."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.bijectors import Bijector, Chain, bijector_to, register_bijector
from posterity.bijectors.inclusion import is_within
from posterity.bijectors.parameters import next_above, next_below
from posterity.bijectors.registry import register_with_torch


def image_support(held: constraints.Constraint, bijector: Bijector, like: Tensor) -> constraints.Constraint:
    """What a bijector maps the values of a constraint onto: its codomain, where they fill its domain.

    Args:
        held: A constraint whose values lie in the bijector's domain.
        bijector: The map.
        like: A tensor of the dtype and device of bounds.

    Example:
        >>> from posterity.bijectors import Exp, Shift
        >>> image_support(constraints.real, Chain([Exp(), Shift(1.0)]), torch.zeros(())).lower_bound
        tensor(1.)
    """
    if isinstance(bijector, Chain):
        for part in bijector._parts:
            held = image_support(held, part, like)
        return held
    return bijector.codomain if is_within(bijector.domain, held) else ImageSupport(held, bijector, like)


class ImageSupport(constraints.Constraint):
    """The values y of a bijector's codomain whose inverse images satisfy another constraint.

    Args:
        held: The constraint on the inverse images.
        bijector: From there to here.
        like: A tensor of the dtype and device of the bounds.

    Example:
        >>> from posterity.bijectors import Scale
        >>> ImageSupport(constraints.unit_interval, Scale(-2.0), torch.zeros(())).check(torch.tensor([-1.5, 0.5]))
        tensor([ True, False])
    """

    def __init__(self, held: constraints.Constraint, bijector: Bijector, like: Tensor) -> None:
        self.held, self.bijector = held, bijector
        self.event_dim = bijector.codomain.event_dim
        if bijector.domain.event_dim == self.event_dim == 0:
            self.lower_bound, self.upper_bound = _bounds(bijector, *_ends(held), like)

    def check(self, value: Tensor) -> Tensor:
        """Whether each event is an image."""
        if hasattr(self, "lower_bound"):
            # The bounds themselves, whose inverse images may round to the outside, belong to it.
            bounded: Tensor = (value >= self.lower_bound) & (value <= self.upper_bound)
            return bounded
        inside: Tensor = self.bijector.codomain.check(value)
        inside = inside & self.held.check(self.bijector._inverse(value))
        return inside

    def inside(self, value: Tensor) -> Tensor:
        """Values at a bound moved to the next number: an open set's own draws may have rounded to the bound."""
        if not hasattr(self, "lower_bound"):
            return value
        lower, upper = (torch.where(end.isfinite(), end, 0) for end in (self.lower_bound, self.upper_bound))
        value = torch.where(self.lower_bound.isfinite(), value.maximum(next_above(lower)), value)
        return torch.where(self.upper_bound.isfinite(), value.minimum(next_below(upper)), value)

    def __repr__(self) -> str:
        return f"image of {self.held!r} under {self.bijector!r}"


def _bounds(bijector: Bijector, lower: Any, upper: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    one = torch.ones((), dtype=like.dtype, device=like.device)
    rising = bijector.sign * one > 0
    domain, codomain = (tuple(end * one for end in _ends(c)) for c in (bijector.domain, bijector.codomain))

    def image(side: int, of: int) -> Tensor:
        # An end of the domain is mapped to one of the codomain, where no formula need be finite.
        end = (lower, upper)[of] * one
        whole = end == domain[of]
        return torch.where(whole, codomain[side], bijector._forward(torch.where(whole, _between(*domain), end)))

    # Of a falling map the ends change places.
    return torch.where(rising, image(0, 0), image(0, 1)), torch.where(rising, image(1, 1), image(1, 0))


def _between(lower: Tensor, upper: Tensor) -> Tensor:
    """Some number in the interval, which may be endless."""
    low, high = lower.isfinite(), upper.isfinite()
    one_ended = torch.where(low, lower + 1, torch.where(high, upper - 1, 0))
    return torch.where(low & high, 0.5 * (lower + upper), one_ended)


def _ends(constraint: constraints.Constraint) -> tuple[Any, Any]:
    return getattr(constraint, "lower_bound", -torch.inf), getattr(constraint, "upper_bound", torch.inf)


@register_bijector(ImageSupport)
def _onto_image(constraint: Any) -> Bijector:
    return Chain([bijector_to(constraint.held), constraint.bijector])


register_with_torch(ImageSupport)
