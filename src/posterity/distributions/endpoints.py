"""Supports whose ends depend on parameters and may be infinite, element by element."""

from typing import cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.bijectors import Bijector, register_bijector
from posterity.bijectors.parameters import next_above, next_below
from posterity.bijectors.registry import register_with_torch


class _Between(constraints.Constraint):
    """Numbers from `lower_bound` to `upper_bound`, both included, either of which may be infinite.

    Args:
        lower_bound: Least number, any shape.
        upper_bound: Greatest number, of the same shape.

    Example:
        >>> between(torch.tensor([0.0, -torch.inf]), torch.tensor([torch.inf, 1.0])).check(torch.tensor([2.0, 2.0]))
        tensor([ True, False])
    """

    def __init__(self, lower_bound: Tensor, upper_bound: Tensor) -> None:
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each element lies between the ends."""
        return (self.lower_bound <= value) & (value <= self.upper_bound)


# As torch names its constraints; the underscore falls off where one is printed.
between = _Between


class _Onto(Bijector):
    """The line onto the numbers between two ends: a sigmoid, an exponential from one end, or the identity."""

    domain = constraints.real

    def __init__(self, target: _Between) -> None:
        super().__init__()
        self.codomain = target

    @property
    def sign(self) -> int:
        """1: it increases."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of the ends."""
        return self._target.lower_bound.shape

    @property
    def _target(self) -> _Between:
        return cast(_Between, self.codomain)

    def _forward(self, x: Tensor) -> Tensor:
        lower, upper, width = self._ends()
        return self._inside(self._chosen(lower + width * x.sigmoid(), lower + x.exp(), upper - (-x).exp(), x))

    def _inverse(self, y: Tensor) -> Tensor:
        y = self._inside(y)
        lower, upper, width = self._ends()
        ratio, above, below = (y - lower) / width, y - lower, upper - y
        both, has_lower, has_upper = self._sides()
        # Logarithms only where they are taken.
        sigmoid = torch.where(both, ratio, 0.5).logit()
        return self._chosen(sigmoid, torch.where(has_lower, above, 1).log(), -torch.where(has_upper, below, 1).log(), y)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        width = self._ends()[2]
        both = width.log() - torch.nn.functional.softplus(x) - torch.nn.functional.softplus(-x)
        return self._chosen(both, x, -x, torch.zeros_like(x))

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._forward_log_det(self._inverse(y))

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """The ends with 0 in place of infinity, and a positive width."""
        lower = torch.where(self._target.lower_bound.isfinite(), self._target.lower_bound, 0)
        upper = torch.where(self._target.upper_bound.isfinite(), self._target.upper_bound, 0)
        return lower, upper, torch.where(upper > lower, upper - lower, 1)

    def _sides(self) -> tuple[Tensor, Tensor, Tensor]:
        has_lower, has_upper = self._target.lower_bound.isfinite(), self._target.upper_bound.isfinite()
        return has_lower & has_upper, has_lower, has_upper

    def _inside(self, y: Tensor) -> Tensor:
        """Numbers that round to an end, moved off it."""
        lower, upper, _ = self._ends()
        _, has_lower, has_upper = self._sides()
        y = torch.where(has_lower, y.maximum(next_above(lower)), y)
        return torch.where(has_upper, y.minimum(next_below(upper)), y)

    def _chosen(self, both: Tensor, above: Tensor, below: Tensor, free: Tensor) -> Tensor:
        bounded, has_lower, has_upper = self._sides()
        one = torch.where(has_lower, above, below)
        return torch.where(bounded, both, torch.where(has_lower | has_upper, one, free))


register_bijector(_Between)(_Onto)
register_with_torch(_Between)
