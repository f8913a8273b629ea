"""Whether one support lies within another, as far as the constraints say."""

import math
from typing import Any

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.constraints import Constraint
from posterity.runtime import validation_enabled

# Constraints on whole events: each names those that contain it.
_WITHIN: dict[type[Constraint], tuple[Constraint, ...]] = {
    type(constraints.corr_cholesky): (constraints.lower_cholesky, constraints.lower_triangular),
    type(constraints.lower_cholesky): (constraints.lower_triangular,),
}
_BOUNDS: dict[type[Constraint], tuple[float, float]] = {
    type(constraints.simplex): (0.0, 1.0),
    type(constraints.sphere): (-1.0, 1.0),
    type(constraints.corr_cholesky): (-1.0, 1.0),
    type(constraints.positive_ordered): (0.0, math.inf),
}


def is_within(inner: Constraint, outer: Constraint) -> bool:
    """Whether every value of `inner` satisfies `outer`, but for boundaries.

    Boundaries have no probability: Gamma's support contains 0, and its logarithm is a distribution all the same. What
    cannot be decided (constraints of unknown types) is taken to fit.

    Args:
        inner: The support of a distribution.
        outer: The domain of a bijector.

    Example:
        >>> from posterity.bijectors import constraints
        >>> is_within(constraints.unit_interval, constraints.positive)
        True
        >>> is_within(constraints.real, constraints.positive)
        False
    """
    if inner.is_discrete:
        return False
    inner, outer = _entries(inner), _entries(outer)
    bounds = _bounds(outer)
    if bounds is not None:
        held = _bounds(inner) or _BOUNDS.get(type(inner), (-math.inf, math.inf))
        return _at_most(bounds[0], held[0]) and _at_most(held[1], bounds[1])
    structured = type(outer).__module__ in (Constraint.__module__, constraints.__name__)
    if not structured or isinstance(outer, constraints.cat | constraints.stack):
        return True
    return isinstance(inner, type(outer)) or any(isinstance(c, type(outer)) for c in _WITHIN.get(type(inner), ()))


def _entries(constraint: Constraint) -> Constraint:
    while isinstance(constraint, constraints.independent | constraints.MixtureSameFamilyConstraint):
        constraint = constraint.base_constraint
    return constraint


def _bounds(constraint: Constraint) -> tuple[Any, Any] | None:
    """The least and greatest value of a constraint on single numbers; None for constraints on whole events."""
    if isinstance(constraint, type(constraints.real)):
        return -math.inf, math.inf
    lower, upper = getattr(constraint, "lower_bound", None), getattr(constraint, "upper_bound", None)
    if lower is None and upper is None:
        return None
    return -math.inf if lower is None else lower, math.inf if upper is None else upper


def _at_most(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return bool(a <= b)
    either = a if isinstance(a, Tensor) else b
    if not validation_enabled() or either.device.type == "meta":
        return True
    return bool(torch._is_all_true(torch.as_tensor(a <= b)))
