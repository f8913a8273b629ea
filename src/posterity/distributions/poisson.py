"""The Poisson distribution, accurate for huge rates and in both tails."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.count_quantiles import ROUGH_LIMIT, count_quantile
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, log_gammainc, log_gammaincc
from posterity.kernels.finite_tails import finite_gammainc, finite_gammaincc
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.poisson_mass import deviance, log_poisson_mass, quick_poisson_mass, readable_logarithm
from posterity.kernels.samplers import poisson


class Poisson(Distribution, torch.distributions.Poisson):
    r"""The Poisson distribution, with mass $e^{-rate}\, rate^k / k!$ on k = 0, 1, ....

    Args:
        rate: Mean, at least 0; at 0 the count is 0 for certain.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `rate` is neither a number nor a real tensor.
        ValueError: It is negative.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000; the cdf is DLMF 8.4.10.

    Example:
        >>> d = Poisson(1e6)
        >>> d.log_prob(torch.tensor(1e6)), d.median
        (tensor(-7.8267), tensor(1000000.))
    """

    rate: Tensor

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"rate": rate}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the count `value`, of shape `sample_shape + batch_shape`."""
        k = self._checked_value(value).to(self.rate.dtype)
        mass = quick_poisson_mass(k, self.rate, remembered(self, readable_logarithm, self.rate))
        if mass is None:
            self._checked_value(value, support=True)
            mass = self._inside_only(k, log_poisson_mass(k, self.rate))
        return mass

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return self._tail(finite_gammaincc, value, 0.0)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return self._tail(_log_lower, value, -torch.inf)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return self._tail(finite_gammainc, value, 1.0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return self._tail(_log_upper, value, 0.0)

    def icdf(self, value: Tensor) -> Tensor:
        """The least count whose cdf reaches the probability `value` in [0, 1]."""
        return count_quantile(self, self._checked_level(value), self.rate.rsqrt(), 1 / self.rate, Poisson._rough_prob)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape`."""
        return poisson(self.rate, sample_shape, source=generator)

    @property
    def mode(self) -> Tensor:
        """The most probable count; the greater of two that are equally so."""
        return self.rate.floor()

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the mean.

        Args:
            data: Counts along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is no whole number of at least 0.

        Example:
            >>> Poisson.fit(torch.tensor([2.0, 4.0])).rate
            tensor(3.)
        """
        data, weights = fit_data("Poisson", data, weights)
        fitted = cls((weights * data).sum(0).abs())
        fitted._check_values("data", data, cls.support)
        return fitted

    def _rough_prob(self, k: Tensor) -> Tensor:
        mass = quick_poisson_mass(k, self.rate, readable_logarithm(self.rate), limit=ROUGH_LIMIT)
        return (log_poisson_mass(k, self.rate) if mass is None else mass).exp()

    def _tail(self, function: Callable[[Tensor, Tensor], Tensor], value: Tensor, below: float) -> Tensor:
        k = self._checked_value(value).to(self.rate.dtype).floor()
        return torch.where(k < 0, below, function(k.clamp(min=0) + 1, self.rate))


# In float64, in which a large rate costs a float32 result no digits.
def _log_lower(a: Tensor, rate: Tensor) -> Tensor:
    return log_gammaincc(widened(a), widened(rate)).to(rate.dtype)


def _log_upper(a: Tensor, rate: Tensor) -> Tensor:
    return log_gammainc(widened(a), widened(rate)).to(rate.dtype)


@register_kl(Poisson, Poisson)
def _kl_poisson_poisson(p: Poisson, q: Poisson) -> Tensor:
    return deviance(p.rate, q.rate)
