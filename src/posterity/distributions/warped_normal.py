"""What increasing functions of a standard normal variable have in common: its tails, quantiles and draws."""

import math

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.kernels import Source, log_ndtr, ndtr, ndtri, normal


class WarpedNormal(Distribution):
    """The distribution of an increasing function of a standard normal variable.

    A leaf gives the function, its inverse, and the logarithm of the inverse's slope.
    """

    has_rsample = True

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        z = self._to_normal(value)
        return self._log_slope(value) - 0.5 * z.square() - 0.5 * math.log(2 * math.pi)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return ndtr(self._to_normal(self._checked_value(value)))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return log_ndtr(self._to_normal(self._checked_value(value)))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return ndtr(-self._to_normal(self._checked_value(value)))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return log_ndtr(-self._to_normal(self._checked_value(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self._from_normal(ndtri(self._checked_level(value)))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as functions of normal noise, of shape `sample_shape + batch_shape`."""
        like = self._like()
        noise = normal(self._extended_shape(sample_shape), source=generator, dtype=like.dtype, device=like.device)
        largest = torch.finfo(like.dtype).max
        return self._from_normal(noise).clamp(-largest, largest)

    @property
    def median(self) -> Tensor:
        """The function's value at 0."""
        return self._from_normal(torch.zeros_like(self._like()))

    def _landmarks(self) -> Tensor:
        # The function may stretch over many orders of magnitude.
        like = self._like()
        z = torch.linspace(-7.5, 7.5, 46, dtype=like.dtype, device=like.device).reshape((-1,) + (1,) * like.dim())
        largest = torch.finfo(like.dtype).max ** 0.5
        return self._from_normal(z).clamp(-largest, largest).expand(-1, *self.batch_shape)

    def _from_normal(self, z: Tensor) -> Tensor:
        """The function, which takes infinities to the ends of the support."""
        raise NotImplementedError

    def _to_normal(self, value: Tensor) -> Tensor:
        """Its inverse; infinite beyond the support."""
        raise NotImplementedError

    def _log_slope(self, value: Tensor) -> Tensor:
        """The logarithm of the inverse's derivative."""
        raise NotImplementedError
