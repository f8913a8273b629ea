"""Zipf's distribution, also called zeta: a power law over the positive integers."""

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.kl import register_kl
from posterity.kernels import Source, log1mexp
from posterity.kernels.samplers import zipf
from posterity.kernels.tracing import expm1
from posterity.kernels.zeta import log_zeta, log_zeta_slope


class Zipf(Distribution):
    r"""Zipf's distribution, with mass $k^{-s} / \zeta(s)$ on k = 1, 2, ....

    Args:
        concentration: The exponent s, above 1.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `concentration` is neither a number nor a real tensor.
        ValueError: It is not above 1.

    Source: Johnson, Kemp and Kotz, Univariate Discrete Distributions, 2005, section 11.2.20.

    Example:
        >>> d = Zipf(2.0)
        >>> d.prob(torch.tensor(1.0)), d.mean, Zipf(3.0).mean
        (tensor(0.6079), tensor(inf), tensor(1.3684))
    """

    arg_constraints = {"concentration": constraints.greater_than(1)}  # noqa: RUF012  # declared by torch's base
    support = constraints.positive_integer

    concentration: Tensor

    def __init__(self, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"concentration": concentration}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True).to(self.concentration.dtype)
        return self._inside_only(value, -self.concentration * value.log() - self._log_zeta(self.concentration))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return -expm1(self.log_survival_function(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return log1mexp(-self.log_survival_function(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        k = self._checked_value(value).to(self.concentration.dtype).floor()
        endless = k == torch.inf
        above = log_zeta(self.concentration, torch.where(endless, 0, k).clamp(min=0) + 1)
        above = torch.where(endless, -torch.inf, above - self._log_zeta(self.concentration))
        return torch.where(k < 1, 0, above)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Values of shape `sample_shape + batch_shape`; the dtype's largest number where they exceed it."""
        with torch.no_grad():
            return zipf(self.concentration, sample_shape, source=generator)

    @property
    def mean(self) -> Tensor:
        """zeta(s - 1) / zeta(s); infinite up to s = 2."""
        return 1 + self._moment_above_one(1)

    @property
    def variance(self) -> Tensor:
        """zeta(s - 2) / zeta(s) less the mean squared; infinite up to s = 3."""
        second = self._moment_above_one(2)
        # Of the distance from 1, which keeps the digits of a large exponent.
        first = torch.where(second.isfinite(), self._moment_above_one(1), 0)
        return second - 2 * first - first.square()

    @property
    def mode(self) -> Tensor:
        """1."""
        return torch.ones_like(self.concentration)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.concentration * self._mean_log() + self._log_zeta(self.concentration)

    def _moment_above_one(self, order: int) -> Tensor:
        """The mean of the power less 1."""
        s = self.concentration
        exists = s > order + 1
        usable = torch.where(exists, s, order + 2)
        moment = expm1(self._log_zeta(usable - order) - self._log_zeta(usable))
        return torch.where(exists, moment, torch.inf)

    def _mean_log(self) -> Tensor:
        return -log_zeta_slope(self.concentration, torch.ones_like(self.concentration))

    def _log_zeta(self, s: Tensor) -> Tensor:
        return log_zeta(s, torch.ones_like(s))


@register_kl(Zipf, Zipf)
def _kl_zipf_zipf(p: Zipf, q: Zipf) -> Tensor:
    ratio = q._log_zeta(q.concentration) - p._log_zeta(p.concentration)
    return (q.concentration - p.concentration) * p._mean_log() + ratio
