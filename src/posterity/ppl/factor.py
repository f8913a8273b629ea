"""A term of a log density as a distribution, so that handlers treat it as they treat any observed site."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions import Distribution
from posterity.kernels import Source


class Factor(Distribution):
    """A distribution over nothing (events of shape `[0]`), with an arbitrary log density.

    Args:
        log_factor: The log density, `[*batch_shape]`.
        has_rsample: Whether the term, where it stands in a guide, comes of draws that gradients go through.

    Example:
        >>> term = Factor(torch.tensor([-1.0, 2.0]))
        >>> term.log_prob(term.value)
        tensor([-1.,  2.])
    """

    arg_constraints = {"log_factor": constraints.dependent}  # noqa: RUF012  # torch's base
    support = constraints.independent(constraints.real, 1)

    log_factor: Tensor

    def __init__(self, log_factor: Tensor, has_rsample: bool = True) -> None:
        self.has_rsample = has_rsample
        self.log_factor = log_factor if log_factor.is_floating_point() else log_factor.to(torch.get_default_dtype())
        super().__init__(self.log_factor.shape, torch.Size([0]), validate_args=False)

    @property
    def value(self) -> Tensor:
        """The only value there is, `[*batch_shape, 0]`."""
        return self.log_factor.new_empty((*self.batch_shape, 0))

    def log_prob(self, value: Tensor) -> Tensor:
        """The term itself, expanded to the batch of `value`."""
        return self.log_factor.expand(torch.broadcast_shapes(self.batch_shape, value.shape[:-1]))

    def mask(self, mask: Tensor | bool) -> "Factor":
        """The term where `mask` is true, 0 elsewhere."""
        seen = torch.as_tensor(mask, device=self.log_factor.device)
        return Factor(torch.where(seen, self.log_factor, 0), self.has_rsample)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Nothing, of shape `sample_shape + batch_shape + [0]`."""
        return self.log_factor.new_empty(self._extended_shape(sample_shape))

    rsample = sample

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same term in each element of a larger batch."""
        new = self._bare_copy(_instance)
        new.log_factor = self.log_factor.expand(batch_shape)
        new._batch_shape = torch.Size(batch_shape)
        return new
