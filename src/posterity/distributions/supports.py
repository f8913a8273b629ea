"""The ends of a scalar support, a point inside any support, and the tensors that one is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.distributions import constraints

if TYPE_CHECKING:
    from posterity.distributions.base import Distribution


def support_ends(d: torch.distributions.Distribution, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of a scalar support, infinite where it goes on, of shape `batch_shape`.

    Args:
        d: A distribution over the line or the integers, of this library unless `like` is given.
        like: A tensor of the wanted dtype and device.

    Example:
        >>> from posterity.distributions import Exponential
        >>> support_ends(Exponential(1.0))
        (tensor(0.), tensor(inf))
    """
    support = cast(constraints.Constraint, d.support)
    like = cast("Distribution", d)._like() if like is None else like
    boolean = support is constraints.boolean
    lower = 0.0 if boolean else getattr(support, "lower_bound", -torch.inf)
    upper = 1.0 if boolean else getattr(support, "upper_bound", torch.inf)
    one = torch.ones((), dtype=like.dtype, device=like.device)
    return (lower * one).expand(d.batch_shape), (upper * one).expand(d.batch_shape)


def point_inside(d: torch.distributions.Distribution, like: Tensor | None = None) -> Tensor:
    """Some value in the support, of shape `batch_shape + event_shape`: to stand where no value is looked at.

    Args:
        d: A distribution, of this library unless `like` is given.
        like: A tensor of the wanted dtype and device.

    Raises:
        NotImplementedError: Nothing is known of the support.

    Example:
        >>> from posterity.distributions import Exponential
        >>> point_inside(Exponential(torch.ones(2)))
        tensor([1., 1.])
    """
    support = cast(constraints.Constraint, d.support)
    like = cast("Distribution", d)._like() if like is None else like
    shape = d.batch_shape + d.event_shape
    zeros = torch.zeros(shape, dtype=like.dtype, device=like.device)
    if support.is_discrete:
        if d.event_shape:
            if isinstance(support, constraints.multinomial):
                total = torch.zeros_like(zeros[..., :1]) + torch.as_tensor(support.upper_bound).unsqueeze(-1)
                return torch.cat([total.to(zeros.dtype), zeros[..., 1:]], dim=-1)
            return d.enumerate_support()[0] if d.has_enumerate_support else zeros
        lower, upper = support_ends(d, like)
        return torch.where(lower.isfinite(), lower, torch.where(upper.isfinite(), upper, zeros))
    if isinstance(support, constraints.interval) and not d.event_shape:
        # Its ends may be infinite, of which a bijector onto an interval knows nothing.
        lower, upper = support_ends(d, like)
        middle = torch.where(lower.isfinite(), lower, 0).lerp(torch.where(upper.isfinite(), upper, 0), 0.5)
        one_sided = torch.where(lower.isfinite(), lower + 1, torch.where(upper.isfinite(), upper - 1, zeros))
        return torch.where(lower.isfinite() & upper.isfinite(), middle, one_sided)
    onto = torch.distributions.biject_to(support)
    return cast(Tensor, onto(zeros.new_zeros(onto.inverse_shape(shape)))).expand(shape)


def tensors_of(support: Any) -> list[Tensor]:
    """The tensors inside a constraint.

    Example:
        >>> tensors_of(constraints.greater_than(torch.tensor(2.0)))
        [tensor(2.)]
    """
    found: list[Tensor] = []
    for value in vars(support).values():
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, constraints.Constraint):
            found += tensors_of(value)
        elif isinstance(value, list | tuple):
            found += [t for part in value if isinstance(part, constraints.Constraint) for t in tensors_of(part)]
    return found
