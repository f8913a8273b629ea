"""The constraint of whole numbers of either sign, which torch lacks."""

from torch import Tensor
from torch.distributions import constraints


class _Integer(constraints.Constraint):
    is_discrete = True
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        return value % 1 == 0

    def __repr__(self) -> str:
        return "Integer()"


integer = _Integer()
