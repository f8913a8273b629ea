"""Tails from the cumulative hazard, for the families in which it is the simplest of all statistics."""

from abc import abstractmethod

from torch import Tensor

from posterity.distributions.base import Distribution
from posterity.kernels import log1mexp
from posterity.kernels.tracing import expm1


class CumulativeHazard(Distribution):
    """A scalar distribution whose subclass gives the cumulative hazard, `-log P(X > value)`.

    List it before torch's class of the same name, in the place of `Distribution`.
    """

    @abstractmethod
    def _hazard(self, value: Tensor) -> Tensor:
        """The cumulative hazard at any value: 0 below the support, infinite above it."""

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support and 1 above it."""
        return -expm1(-self._hazard(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return log1mexp(self._hazard(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support and 0 above it."""
        return (-self._hazard(value)).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return -self._hazard(value)
