"""The skew normal distribution: the normal with one tail lightened."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.quantiles import log_concave_quantile
from posterity.kernels import Source, log_ndtr, normal, skew_normal_cdf, skew_normal_log_cdf


class SkewNormal(Distribution):
    r"""The skew normal distribution, with density $2 \phi(z) \Phi(skewness\, z) / scale$ for $z = (x - loc) / scale$.

    Args:
        loc: Where the normal factor is centred; the parameters' shapes broadcast.
        scale: Standard deviation of the normal factor, positive.
        skewness: The slant: 0 is the normal distribution, positive values lighten the lower tail.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Azzalini, A Class of Distributions which Includes the Normal Ones, 1985.

    Example:
        >>> d = SkewNormal(loc=0.0, scale=1.0, skewness=2.0)
        >>> d.mean, d.cdf(0.0)
        (tensor(0.7136), tensor(0.1476))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real,
        "scale": constraints.positive,
        "skewness": constraints.real,
    }
    support = constraints.real
    has_rsample = True

    loc: Tensor
    scale: Tensor
    skewness: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        skewness: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise({"loc": loc, "scale": scale, "skewness": skewness}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z = self._standardised(value, support=True)
        return 0.5 * math.log(2 / math.pi) - 0.5 * z.square() + log_ndtr(self.skewness * z) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return skew_normal_cdf(self._standardised(value), self.skewness)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return skew_normal_log_cdf(self._standardised(value), self.skewness)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return skew_normal_cdf(-self._standardised(value), -self.skewness)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return skew_normal_log_cdf(-self._standardised(value), -self.skewness)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return log_concave_quantile(self, self._checked_level(value))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as a half-normal plus a normal variable, of shape `sample_shape + batch_shape`."""
        shape = self._extended_shape(sample_shape)
        half, other = normal((2, *shape), source=generator, dtype=self.loc.dtype, device=self.loc.device)
        # Henze, A Probabilistic Representation of the 'Skew-Normal' Distribution, 1986.
        length = torch.hypot(self.skewness, torch.ones_like(self.skewness))
        draws: Tensor = self.loc + self.scale * (self.skewness * half.abs() + other) / length
        return draws

    @property
    def mean(self) -> Tensor:
        """Mean, of shape `batch_shape`."""
        return self.loc + self.scale * self._correlation() * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        """Variance, of shape `batch_shape`."""
        return self.scale.square() * (1 - self._correlation().square() * (2 / math.pi))

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        start = super()._fit_start(data, weights)
        third = (weights * ((data - start["loc"]) / start["scale"]).pow(3)).sum(0)
        # The moments' equations, within reach of the family.
        root = third.abs().clamp(max=0.9).pow(2 / 3)
        squared = math.pi / 2 * root / (root + ((4 - math.pi) / 2) ** (2 / 3))
        correlation = squared.sqrt().copysign(third)
        scale = start["scale"] / (1 - 2 / math.pi * squared).sqrt()
        loc = start["loc"] - scale * correlation * math.sqrt(2 / math.pi)
        return {"loc": loc, "scale": scale, "skewness": correlation / (1 - squared).sqrt()}

    def _landmarks(self) -> Tensor:
        # The normal factor changes over the scale, the other one over the scale divided by the slant.
        z = torch.linspace(-7.0, 7.0, 14, dtype=self.loc.dtype, device=self.loc.device)
        z = z.reshape((-1,) + (1,) * self.loc.dim())
        return self.loc + self.scale * torch.cat([z + 0 * self.loc, z / (1 + self.skewness.abs())])

    def _correlation(self) -> Tensor:
        """Of the variable with the half-normal one that skews it."""
        return self.skewness / torch.hypot(self.skewness, torch.ones_like(self.skewness))

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale
