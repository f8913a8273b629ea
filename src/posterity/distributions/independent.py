"""Batch dimensions read as one event of independent entries."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions.utils import _sum_rightmost
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.on_base import OnBase
from posterity.kernels import Source


class Independent(OnBase, torch.distributions.Independent[Distribution]):
    """The rightmost batch dimensions of a distribution, made part of one event.

    The cdf is the joint one, P(every entry <= its own value), and the survival function likewise P(every
    entry > its own value); the two do not add up to 1. Mean, variance, mode and median are the entries'.

    Args:
        base_distribution: A distribution of this library.
        reinterpreted_batch_ndims: How many batch dimensions, from the right, become event dimensions.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is not a distribution of this library.
        ValueError: It has fewer batch dimensions than that, or the number is negative.

    Example:
        >>> from posterity.distributions import Normal
        >>> d = Independent(Normal(torch.zeros(4, 3), 1.0), 1)
        >>> d.batch_shape, d.event_shape, d.log_prob(torch.zeros(3)).shape
        (torch.Size([4]), torch.Size([3]), torch.Size([4]))
    """

    _instead_of_fit = "fit that of the entries, then use to_event()."

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(base_distribution, Distribution):
            raise TypeError(
                "base_distribution of Independent must be a posterity distribution, not "
                f"{type(base_distribution).__module__}.{type(base_distribution).__name__}: use "
                "torch.distributions.Independent for torch's own."
            )
        batch_rank = len(base_distribution.batch_shape)
        if not 0 <= reinterpreted_batch_ndims <= batch_rank:
            raise ValueError(
                f"reinterpreted_batch_ndims must lie between 0 and {batch_rank}, the rank of batch_shape "
                f"{tuple(base_distribution.batch_shape)} of {type(base_distribution).__name__}, but is "
                f"{reinterpreted_batch_ndims}."
            )
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        shape = base_distribution.batch_shape + base_distribution.event_shape
        kept = batch_rank - reinterpreted_batch_ndims
        Distribution.__init__(self, shape[:kept], shape[kept:], validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = Distribution.expand(self, batch_shape, _instance)
        new.base_dist = self.base_dist.expand(new.batch_shape + self.event_shape[: self.reinterpreted_batch_ndims])
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Sum of the entries' log densities, of shape `sample_shape + batch_shape`."""
        return self._sum(self.base_dist.log_prob(self._checked_value(value)))

    def cdf(self, value: Tensor) -> Tensor:
        """P(every entry <= its own value): the product of the entries' cdf."""
        return self._product(self.base_dist.cdf(self._checked_value(value)))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(every entry <= its own value)."""
        return self._sum(self.base_dist.log_cdf(self._checked_value(value)))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(every entry > its own value): the product of the entries' survival functions."""
        return self._product(self.base_dist.survival_function(self._checked_value(value)))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(every entry > its own value)."""
        return self._sum(self.base_dist.log_survival_function(self._checked_value(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """Defined for scalar events only."""
        self._refuse_vectors("icdf")
        return self.base_dist.icdf(value)

    @property
    def median(self) -> Tensor:
        """The medians of the entries."""
        return self.base_dist.median

    def entropy(self) -> Tensor:
        """Sum of the entries' entropies, in nats, of shape `batch_shape`."""
        return self._sum(self.base_dist.entropy())

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`."""
        return self.base_dist.sample(sample_shape, generator=generator)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters, where the base has them."""
        return self.base_dist.rsample(sample_shape, generator=generator)

    def _sum(self, entries: Tensor) -> Tensor:
        return _sum_rightmost(entries, self.reinterpreted_batch_ndims)

    def _product(self, entries: Tensor) -> Tensor:
        for _ in range(self.reinterpreted_batch_ndims):
            entries = entries.prod(-1)
        return entries


@register_kl(Independent, Independent)
def _kl_independent_independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise ValueError(
            "KL needs events split alike, but p reinterprets "
            f"{p.reinterpreted_batch_ndims} batch dimensions and q {q.reinterpreted_batch_ndims}."
        )
    return p._sum(kl_divergence(p.base_dist, q.base_dist))
