"""Priors of posteriordb's models that are no probability distributions: flat ones, and cut ones not normalised."""

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.distributions import Distribution


class Flat(Distribution):
    """The density 1 on a support, an improper prior.

    Args:
        support: Where values lie.
        event_shape: Their shape.

    Example:
        >>> Flat(constraints.positive, (2,)).log_prob(torch.tensor([3.0, 4.0]))
        tensor(0.)
    """

    arg_constraints = {}

    def __init__(self, support, event_shape=()):
        super().__init__((), event_shape)
        missing = len(event_shape) - support.event_dim
        self._support = constraints.independent(support, missing) if missing else support

    @property
    def support(self):
        return self._support

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_zeros(value.shape[: value.dim() - len(self.event_shape)])

    def _like(self) -> Tensor:
        return torch.empty(())


class Restricted(Flat):
    """A distribution's own density on a part of its support, without the constant that makes it integrate to 1.

    Args:
        base: The distribution, of batch shape `[]`.
        support: The part.

    Example:
        >>> from posterity.distributions import Normal
        >>> Restricted(Normal(0.0, 1.0), constraints.positive).log_prob(torch.tensor(0.0))
        tensor(-0.9189)
    """

    def __init__(self, base, support):
        super().__init__(support, base.event_shape)
        self.base = base

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value)
