"""The log-normal distribution: the exponential of a normal variable."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.location_scale import is_spare, located
from posterity.distributions.normal import Normal
from posterity.distributions.warped_normal import WarpedNormal
from posterity.kernels import Source, normal


class LogNormal(WarpedNormal):
    r"""The log-normal distribution, of $e^{loc + scale Z}$ for a standard normal $Z$.

    Args:
        loc: Mean of the logarithm; any shape that broadcasts against `scale`.
        scale: Standard deviation of the logarithm, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 14.

    Example:
        >>> d = LogNormal(0.0, 1.0)
        >>> d.median, d.mean, d.log_survival_function(1e8)
        (tensor(1.), tensor(1.6487), tensor(-173.4961))
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.positive

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; minus infinity where it is not positive."""
        log = self._checked_value(value, support=True).clamp(min=0).log()
        z = (log - self.loc) / self.scale
        offset = self.scale.log().neg_().sub_(0.5 * math.log(2 * math.pi))
        # Of the logarithm's two occurrences one is kept finite.
        return torch.addcmul(offset, z, z, value=-0.5).sub_(log.clamp(min=-1e4))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `exp(loc + scale * noise)`, positive and finite, of shape `sample_shape + batch_shape`."""
        noise = normal(
            self._extended_shape(sample_shape), source=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        draws = located(noise, self.loc, self.scale)
        limits = torch.finfo(draws.dtype)
        if is_spare():
            return draws.exp_().clamp_(limits.tiny, limits.max)
        return draws.exp().clamp(limits.tiny, limits.max)

    @property
    def mean(self) -> Tensor:
        """`exp(loc + scale^2 / 2)`."""
        return (self.loc + 0.5 * self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """`(exp(scale^2) - 1) * mean^2`."""
        return torch.expm1(self.scale.square()) * (2 * self.loc + self.scale.square()).exp()

    @property
    def mode(self) -> Tensor:
        """`exp(loc - scale^2)`."""
        return (self.loc - self.scale.square()).exp()

    def entropy(self) -> Tensor:
        """Entropy in nats: that of the logarithm plus `loc`."""
        return self._logarithm().entropy() + self.loc

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the normal distribution of the logarithms.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive, or all of one batch element are equal: the likelihood then has no
                maximum.

        Example:
            >>> LogNormal.fit(torch.tensor([1.0, 4.0])).median
            tensor(2.)
        """
        data, weights = fit_data("LogNormal", data, weights)
        cls(data.new_zeros(()), data.new_ones(()))._check_values("data", data, cls.support)
        found = Normal.fit(data.log(), weights.expand_as(data))
        return cls(found.loc, found.scale)

    def _from_normal(self, z: Tensor) -> Tensor:
        return (self.loc + self.scale * z).exp()

    def _to_normal(self, value: Tensor) -> Tensor:
        below = value <= 0
        z = (torch.where(below, 1, value).log() - self.loc) / self.scale
        return torch.where(below, -torch.inf, z)

    def _log_slope(self, value: Tensor) -> Tensor:
        return -torch.where(value > 0, value, 1).log() - self.scale.log()

    def _logarithm(self) -> Normal:
        return Normal(self.loc, self.scale, validate_args=False)


@register_kl(LogNormal, LogNormal)
def _kl_log_normal_log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return kl_divergence(p._logarithm(), q._logarithm())
