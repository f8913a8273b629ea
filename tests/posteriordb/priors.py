"""Priors of posteriordb's models that are cut and not normalised."""

from torch import Tensor

from posterity.distributions import ImproperUniform


class Restricted(ImproperUniform):
    """A distribution's own density on a part of its support, without the constant that makes it integrate to 1.

    Args:
        base: The distribution.
        support: The part.

    Example:
        >>> import torch
        >>> from torch.distributions import constraints
        >>> from posterity.distributions import Normal
        >>> Restricted(Normal(0.0, 1.0), constraints.positive).log_prob(torch.tensor(0.5))
        tensor(-1.0439)
    """

    def __init__(self, base, support):
        super().__init__(support, base.batch_shape, base.event_shape)
        self.base = base

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value) + super().log_prob(value)
