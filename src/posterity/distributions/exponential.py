"""The exponential distribution: waiting times without memory."""

from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import is_spare
from posterity.distributions.tail_noise import exponential_noise
from posterity.kernels import Source


class Exponential(Distribution, torch.distributions.Exponential):
    r"""The exponential distribution, with density $rate\,e^{-rate\,x}$ on $x \ge 0$.

    Args:
        rate: Events per unit, positive; the inverse of the mean.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `rate` is neither a number nor a real tensor.
        ValueError: It is not positive.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 19.

    Example:
        >>> d = Exponential(2.0)
        >>> d.mean, d.log_survival_function(100.0)
        (tensor(0.5000), tensor(-200.))
    """

    rate: Tensor

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"rate": rate}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return self._inside_only(value, torch.addcmul(self.rate.log(), self.rate, value, value=-1))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return -torch.expm1(-self._scaled(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        z = self._scaled(value)
        # Maechler, Accurately Computing log(1 - exp(-|a|)), 2012, equation 7; each branch sees only its own half.
        near = (-torch.expm1(-z.clamp(max=0.7))).log()
        far = torch.log1p(-(-z.clamp(min=0.7)).exp())
        return torch.where(z < 0.7, near, far)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return (-self._scaled(value)).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return -self._scaled(value)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return -torch.log1p(-self._checked_level(value)) / self.rate

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `noise / rate`, of shape `sample_shape + batch_shape`."""
        noise = exponential_noise(self, sample_shape, generator)
        return noise.div_(self.rate) if is_spare() else noise / self.rate

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the inverse of the mean.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is negative, or all are zero: the likelihood then has no maximum.

        Example:
            >>> Exponential.fit(torch.tensor([1.0, 3.0])).rate
            tensor(0.5000)
        """
        data, weights = fit_data("Exponential", data, weights)
        fitted = cls((weights * data).sum(0).abs().reciprocal())
        fitted._check_values("data", data, cls.support)
        return fitted

    def _scaled(self, value: Tensor) -> Tensor:
        return (self.rate * self._checked_value(value)).clamp(min=0)


@register_kl(Exponential, Exponential)
def _kl_exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    # With r the log ratio of rates, expm1(r) - r keeps its digits where the rates are close.
    r = (q.rate / p.rate).log()
    return torch.expm1(r) - r
