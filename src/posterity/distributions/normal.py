"""The normal distribution, accurate far into both tails."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import located
from posterity.kernels import Source, log_ndtr, ndtr, ndtri, normal


class Normal(Distribution, torch.distributions.Normal):
    r"""The normal distribution, with density $e^{-(x - loc)^2 / 2 scale^2} / \sqrt{2 \pi scale^2}$.

    Args:
        loc: Mean; any shape that broadcasts against `scale`.
        scale: Standard deviation, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 13.

    Example:
        >>> d = Normal(0.0, 1.0)
        >>> d.icdf(1e-10), d.cdf(-10.0)
        (tensor(-6.3613), tensor(7.6199e-24))
        >>> d.kl_divergence(Normal(1.0, 1.0))
        tensor(0.5000)
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z = self._standardised(value, support=True)
        return torch.addcmul(self.scale.log().neg_().sub_(0.5 * math.log(2 * math.pi)), z, z, value=-0.5)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), with a relative error near `eps * z^2` for z standard deviations out."""
        return ndtr(self._standardised(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return log_ndtr(self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value), as accurate as `cdf`."""
        return ndtr(-self._standardised(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return log_ndtr(-self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.loc + self.scale * ndtri(self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `loc + scale * noise`, of shape `sample_shape + batch_shape`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        return located(noise, self.loc, self.scale)

    @property
    def median(self) -> Tensor:
        """`loc`."""
        return self.loc

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the mean, and the root of the mean squared deviation from it.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal: the likelihood then has no maximum.

        Example:
            >>> d = Normal.fit(torch.tensor([1.0, 3.0]))
            >>> d.loc, d.scale
            (tensor(2.), tensor(1.))
        """
        data, weights = fit_data("Normal", data, weights)
        loc = (weights * data).sum(0)
        return cls(loc, (weights * (data - loc).square()).sum(0).sqrt())

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale


@register_kl(Normal, Normal)
def _kl_normal_normal(p: Normal, q: Normal) -> Tensor:
    # With r the log ratio of scales, expm1(2r) - 2r keeps its digits where the scales are close.
    r = (p.scale / q.scale).log()
    shift = (p.loc - q.loc) / q.scale
    return 0.5 * (shift.square() + torch.expm1(2 * r) - 2 * r)
