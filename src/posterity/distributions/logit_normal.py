"""The logit-normal distribution: the sigmoid of a normal variable."""

from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.normal import Normal
from posterity.distributions.warped_normal import WarpedNormal
from posterity.kernels import Source


class LogitNormal(WarpedNormal):
    r"""The logit-normal distribution, of $1 / (1 + e^{-loc - scale Z})$ for a standard normal $Z$.

    Args:
        loc: Mean of the log odds; any shape that broadcasts against `scale`.
        scale: Standard deviation of the log odds, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Atchison and Shen, Logistic-Normal Distributions: Some Properties and Uses, 1980,
    https://doi.org/10.1093/biomet/67.2.261

    Example:
        >>> d = LogitNormal(0.0, 1.0)
        >>> d.median, d.log_cdf(1e-8)
        (tensor(0.5000), tensor(-173.4961))
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.unit_interval

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; minus infinity at 0 and 1."""
        value = self._checked_value(value, support=True)
        outside = (value <= 0) | (value >= 1)
        return torch.where(outside, -torch.inf, super().log_prob(torch.where(outside, 0.5, value)))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws, never rounded to 0 or 1, of shape `sample_shape + batch_shape`."""
        draws = super().rsample(sample_shape, generator=generator)
        limits = torch.finfo(draws.dtype)
        return draws.clamp(limits.tiny, 1 - limits.eps / 2)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the normal distribution of the log odds.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not between 0 and 1, or all of one batch element are equal: the likelihood then has
                no maximum.

        Example:
            >>> LogitNormal.fit(torch.tensor([0.2, 0.8])).median
            tensor(0.5000)
        """
        data, weights = fit_data("LogitNormal", data, weights)
        inside = constraints.interval(torch.finfo(data.dtype).tiny, 1 - torch.finfo(data.dtype).eps / 2)
        cls(data.new_zeros(()), data.new_ones(()))._check_values("data", data, inside)
        found = Normal.fit(torch.logit(data), weights.expand_as(data))
        return cls(found.loc, found.scale)

    def _from_normal(self, z: Tensor) -> Tensor:
        return (self.loc + self.scale * z).sigmoid()

    def _to_normal(self, value: Tensor) -> Tensor:
        below, above = value <= 0, value >= 1
        z = (torch.logit(torch.where(below | above, 0.5, value)) - self.loc) / self.scale
        return torch.where(below, -torch.inf, torch.where(above, torch.inf, z))

    def _log_slope(self, value: Tensor) -> Tensor:
        return -value.log() - torch.log1p(-value) - self.scale.log()

    def _log_odds(self) -> Normal:
        return Normal(self.loc, self.scale, validate_args=False)


@register_kl(LogitNormal, LogitNormal)
def _kl_logit_normal_logit_normal(p: LogitNormal, q: LogitNormal) -> Tensor:
    return kl_divergence(p._log_odds(), q._log_odds())
