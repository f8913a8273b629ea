"""What a distribution checks of the values and shapes that it is given, and what it says of those that do not fit."""

from collections.abc import Callable
from numbers import Number
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.parameters import broadcastable, is_wrapped
from posterity.kernels.elementwise import BLOCK
from posterity.runtime import validation_enabled


class Checked(torch.distributions.Distribution):
    """A distribution that checks values, levels and batch shapes; `Distribution` adds the statistics.

    Shapes and types are checked always; values where `_validate_values` says so, or, where that is None, where the
    library's switch does.
    """

    arg_constraints: dict[str, constraints.Constraint]
    _validate_values: bool | None

    def _checked_value(self, value: Tensor | float, *, support: bool = False) -> Tensor:
        """`value` as a tensor whose shape fits, and, if asked, whose entries lie in the support."""
        if not isinstance(value, Tensor) or value.is_complex():
            if isinstance(value, Tensor) or not isinstance(value, Number) or isinstance(value, complex):
                kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"value of {type(self).__name__} must be a real tensor or a number, not {kind}.")
            value = self._level(cast(float, value))
        if value.shape != self._batch_shape + self._event_shape and not self._fits(value):
            raise ValueError(
                f"value of shape {tuple(value.shape)} does not fit {type(self).__name__} with batch_shape "
                f"{tuple(self.batch_shape)} and event_shape {tuple(self.event_shape)}: it must end with the "
                "event_shape and broadcast against the batch_shape before it."
            )
        if support:
            self._check_values("value", value, cast(constraints.Constraint, self.support))
        return value

    def _fits(self, value: Tensor) -> bool:
        batch_rank = value.dim() - len(self._event_shape)
        if batch_rank < 0 or value.shape[batch_rank:] != self._event_shape:
            return False
        return broadcastable(value.shape[:batch_rank], self._batch_shape)

    def _checked_level(self, level: Tensor) -> Tensor:
        """`level` as a tensor of probabilities in [0, 1] that broadcasts against the batch."""
        level = self._checked_value(level)
        self._check_values("value of icdf", level, constraints.unit_interval)
        return level

    def _inside_only(self, value: Tensor, log_density: Tensor) -> Tensor:
        """A log density at values that may lie outside the support: minus infinity there, where no check refuses them.

        A NaN stays NaN.
        """
        if self._checks_values():
            return log_density
        inside = cast(constraints.Constraint, self.support).check(value) | value.isnan()
        return torch.where(inside, log_density, -torch.inf)

    def _checks_values(self) -> bool:
        validates = self._validate_values
        return validation_enabled() if validates is None else validates and not torch.compiler.is_compiling()

    def _check_values(self, name: str, value: Tensor, constraint: constraints.Constraint) -> None:
        if not self._checks_values() or value.is_meta or value.numel() == 0:
            return
        if not is_wrapped(value):
            # A tenth of the time that the check's own operations take.
            if value.numel() == 1 and _is_of_numbers(constraint):
                if constraint.check(value.item()) is True:
                    return
            elif value.is_floating_point() and _plainly_valid(value, constraint):
                return
        valid: Tensor = constraint.check(value)
        # The one reduction to a Python bool that torch.vmap lets through (torch's distributions use it too).
        if torch._is_all_true(valid):
            return
        first = (~valid).reshape(-1).to(torch.int64).argmax().reshape(1)
        # Bounds may have a batch shape that the value has not.
        events = value.broadcast_to(valid.shape + value.shape[value.dim() - constraint.event_dim :])
        offender = events.reshape(valid.numel(), -1).index_select(0, first).squeeze()
        raise ValueError(
            f"{name} of {type(self).__name__} must satisfy {constraint!r}, but this tensor of shape "
            f"{tuple(value.shape)} holds {offender!s}. Correct the value, or switch value checks off with "
            "posterity.runtime.set_validation(False)."
        )

    def _checked_expansion(self, batch_shape: _size) -> torch.Size:
        batch_shape = torch.Size(batch_shape)
        if (
            len(batch_shape) < len(self.batch_shape)
            or not broadcastable(self.batch_shape, batch_shape)
            or any(new == 1 != old for new, old in zip(reversed(batch_shape), reversed(self.batch_shape), strict=False))
        ):
            raise ValueError(
                f"batch_shape {tuple(self.batch_shape)} of {type(self).__name__} cannot be expanded to "
                f"{tuple(batch_shape)}: only dimensions of size 1 and new ones on the left can grow."
            )
        return batch_shape

    def _level(self, level: float) -> Tensor:
        """A probability as a tensor beside the parameters."""
        like = self._like()
        return torch.tensor(level, dtype=like.dtype, device=like.device)

    def _like(self) -> Tensor:
        """A tensor of this distribution's floating dtype and device."""
        given = self.__dict__
        for name in self.arg_constraints:
            if name in given:
                return cast(Tensor, given[name])
        raise AttributeError(f"{type(self).__name__} holds none of the parameters that its arg_constraints name.")


# Constraints whose check is a comparison that Python's numbers know too.
_OF_NUMBERS = {
    type(constraint)
    for constraint in (
        constraints.real,
        constraints.positive,
        constraints.nonnegative,
        constraints.less_than(0.0),
        constraints.unit_interval,
        constraints.half_open_interval(0.0, 1.0),
        constraints.nonnegative_integer,
        constraints.boolean,
    )
}


def _is_of_numbers(constraint: constraints.Constraint) -> bool:
    # Bounds may be tensors. (`isinstance(..., Number)` would take as long as the rest of the check.)
    return type(constraint) in _OF_NUMBERS and type(getattr(constraint, "lower_bound", 0)) in (int, float)


def _plainly_valid(value: Tensor, constraint: constraints.Constraint) -> bool:
    """Whether one reduction of a floating tensor shows that all its entries are valid; a NaN goes through it."""
    kind = type(constraint)
    if kind is constraints.independent:
        constraint = cast(Any, constraint).base_constraint
        kind = type(constraint)
    value = value.detach() if value.requires_grad else value
    if not _is_of_numbers(constraint):
        return False
    if kind is _Boolean:
        return _vanishes(lambda part: part.square().sub_(part), value)
    if constraint is constraints.real:
        total = value.sum().item()
        return total == total
    if kind is _CountFrom:
        return cast(Any, constraint).lower_bound <= value.amin().item() and _vanishes(
            lambda part: part.floor().sub_(part), value
        )
    if kind is _AboveOnly or kind is _AtLeast:
        return constraint.check(value.amin().item()) is True
    if kind is _Between:
        least, greatest = value.aminmax()
        return constraint.check(least.item()) is True and constraint.check(greatest.item()) is True
    return False


def _vanishes(residue: Callable[[Tensor], Tensor], value: Tensor) -> bool:
    """Whether a new tensor that is made of each part of the value is 0, and not NaN; copies stay in the cache."""
    size = BLOCK // value.element_size()
    if value.numel() <= size:
        return residue(value).abs_().sum().item() == 0
    return all(_vanishes(residue, part) for part in value.reshape(-1).split(size))


_Boolean, _CountFrom = type(constraints.boolean), type(constraints.nonnegative_integer)
_AboveOnly, _AtLeast, _Between = map(type, (constraints.positive, constraints.nonnegative, constraints.unit_interval))
