"""A distribution of which some elements of the batch are not looked at."""

from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.on_base import OnBase
from posterity.distributions.parameters import broadcast_shapes
from posterity.distributions.supports import point_inside
from posterity.kernels import Source


class MaskedDistribution(OnBase):
    """A distribution with a log density of zero, and no entropy, wherever the mask is false.

    Draws, tails and moments are those of the base. A value at a masked place is never looked at: it may be NaN, or
    outside the support, and sends no gradient.

    Args:
        base_distribution: A distribution of this library.
        mask: True, False, or a bool tensor that broadcasts against the batch.

    Raises:
        TypeError: `base_distribution` is no distribution of this library, or `mask` is not boolean.
        ValueError: The mask does not broadcast against the batch.

    Example:
        >>> from posterity.distributions import Normal
        >>> d = Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False]))
        >>> d.log_prob(torch.tensor([0.0, torch.nan]))
        tensor([-0.9189,  0.0000])
    """

    _instead_of_fit = "fit that, with weights of 0 where data are masked."

    def __init__(self, base_distribution: Distribution, mask: Tensor | bool) -> None:
        if not isinstance(base_distribution, Distribution):
            raise TypeError(
                "base_distribution of MaskedDistribution must be a posterity distribution, not "
                f"{type(base_distribution).__module__}.{type(base_distribution).__name__}."
            )
        if not isinstance(mask, bool) and not (isinstance(mask, Tensor) and mask.dtype == torch.bool):
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask of MaskedDistribution must be True, False or a bool tensor, not {kind}.")
        shape = mask.shape if isinstance(mask, Tensor) else torch.Size()
        batch_shape = broadcast_shapes("mask and batch", mask=shape, batch_shape=base_distribution.batch_shape)
        self.base_dist = base_distribution.expand(batch_shape)
        like = base_distribution._like()
        self._mask = (
            mask if isinstance(mask, Tensor) else torch.full((), mask, dtype=torch.bool, device=like.device)
        ).expand(batch_shape)
        Distribution.__init__(self, batch_shape, base_distribution.event_shape)

    def __repr__(self) -> str:
        return f"MaskedDistribution({self.base_dist!r}, mask of shape {tuple(self._mask.shape)})"

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch and its mask broadcast to `batch_shape`."""
        new = super().expand(batch_shape, _instance)
        new._mask = self._mask.expand(new.batch_shape)
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The support of the base."""
        return cast(constraints.Constraint, self.base_dist.support)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the base lists its values."""
        return self.base_dist.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, `[num_values, *batch_shape, *event_shape]`."""
        return self.base_dist.enumerate_support(expand)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density where the mask is true, 0 elsewhere, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value)
        seen = self._mask.reshape(self._mask.shape + (1,) * len(self.event_shape))
        # Before the density: what is masked must not reach the gradient as NaN.
        value = torch.where(seen, value, point_inside(self.base_dist).to(value.dtype))
        return torch.where(self._mask, self.base_dist.log_prob(value), 0)

    def cdf(self, value: Tensor) -> Tensor:
        """The base's P(X <= value)."""
        return self.base_dist.cdf(value)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of the base's P(X <= value)."""
        return self.base_dist.log_cdf(value)

    def survival_function(self, value: Tensor) -> Tensor:
        """The base's P(X > value)."""
        return self.base_dist.survival_function(value)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of the base's P(X > value)."""
        return self.base_dist.log_survival_function(value)

    def icdf(self, value: Tensor) -> Tensor:
        """The base's quantile."""
        return self.base_dist.icdf(value)

    @property
    def mean(self) -> Tensor:
        """The base's mean."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The base's variance."""
        return self.base_dist.variance

    @property
    def mode(self) -> Tensor:
        """The base's mode."""
        return self.base_dist.mode

    @property
    def median(self) -> Tensor:
        """The base's median."""
        return self.base_dist.median

    def entropy(self) -> Tensor:
        """Entropy in nats where the mask is true, 0 elsewhere, of shape `batch_shape`."""
        return torch.where(self._mask, self.base_dist.entropy(), 0)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of the base, of shape `sample_shape + batch_shape + event_shape`."""
        return self.base_dist.sample(sample_shape, generator=generator)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters, where the base has them."""
        return self.base_dist.rsample(sample_shape, generator=generator)


@register_kl(MaskedDistribution, MaskedDistribution)
def _kl_masked_masked(p: MaskedDistribution, q: MaskedDistribution) -> Tensor:
    return torch.where(p._mask & q._mask, kl_divergence(p.base_dist, q.base_dist), 0)


@register_kl(MaskedDistribution, torch.distributions.Distribution)
def _kl_masked_distribution(p: MaskedDistribution, q: torch.distributions.Distribution) -> Tensor:
    return torch.where(p._mask, kl_divergence(p.base_dist, q), 0)


@register_kl(torch.distributions.Distribution, MaskedDistribution)
def _kl_distribution_masked(p: torch.distributions.Distribution, q: MaskedDistribution) -> Tensor:
    return torch.where(q._mask, kl_divergence(p, q.base_dist), 0)
