"""Supports whose ends depend on parameters and may be infinite, element by element."""

from typing import cast

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import Transform


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


class _Onto(Transform):
    """The line onto the numbers between two ends: a sigmoid, an exponential from one end, or the identity."""

    domain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, target: _Between) -> None:
        super().__init__()
        self.target = target

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        return self.target

    def _call(self, x: Tensor) -> Tensor:
        lower, upper, width = self._ends()
        return self._chosen(lower + width * x.sigmoid(), lower + torch.exp(x), upper - torch.exp(-x), x)

    def _inverse(self, y: Tensor) -> Tensor:
        lower, upper, width = self._ends()
        return self._chosen(((y - lower) / width).logit(), (y - lower).log(), -(upper - y).log(), y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        width = self._ends()[2]
        both = width.log() - torch.nn.functional.softplus(x) - torch.nn.functional.softplus(-x)
        return self._chosen(both, x, -x, torch.zeros_like(x))

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """The ends with 0 in place of infinity, and a positive width."""
        lower = torch.where(self.target.lower_bound.isfinite(), self.target.lower_bound, 0)
        upper = torch.where(self.target.upper_bound.isfinite(), self.target.upper_bound, 0)
        return lower, upper, torch.where(upper > lower, upper - lower, 1)

    def _chosen(self, both: Tensor, above: Tensor, below: Tensor, free: Tensor) -> Tensor:
        has_lower, has_upper = self.target.lower_bound.isfinite(), self.target.upper_bound.isfinite()
        one = torch.where(has_lower, above, below)
        return torch.where(has_lower & has_upper, both, torch.where(has_lower | has_upper, one, free))


@biject_to.register(_Between)
@transform_to.register(_Between)
def _onto_between(constraint: constraints.Constraint) -> Transform:
    return _Onto(cast(_Between, constraint))
