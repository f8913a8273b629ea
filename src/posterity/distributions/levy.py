"""The Lévy distribution: the inverse square of a normal variable, with no mean."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data, maximum_likelihood
from posterity.distributions.half_normal import half_normal_tail_quantile, log_half_normal_cdf, log_half_normal_tail
from posterity.distributions.order_statistics import weighted_quantile
from posterity.distributions.uniform import extremes
from posterity.kernels import Source, normal


class Levy(Distribution):
    r"""The Lévy distribution, of $loc + scale / Z^2$ for a standard normal $Z$.

    Its mean and variance are infinite.

    Args:
        loc: The lower end of the support; any shape that broadcasts against `scale`.
        scale: Positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Feller, An Introduction to Probability Theory and Its Applications, volume 2, section II.4.

    Example:
        >>> d = Levy(0.0, 1.0)
        >>> d.median, d.mean, d.survival_function(1e12)
        (tensor(2.1981), tensor(inf), tensor(7.9788e-07))
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    has_rsample = True

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """From `loc` upwards."""
        return constraints.greater_than_eq(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; minus infinity at `loc`."""
        distance = (self._checked_value(value, support=True) - self.loc) / self.scale
        outside = distance <= 0
        log_prob = _standard_log_density(torch.where(outside, 1, distance)) - self.scale.log()
        return torch.where(outside, -torch.inf, log_prob)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return torch.erfc(self._normal_size(value) * math.sqrt(0.5))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return log_half_normal_tail(self._normal_size(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return torch.erf(self._normal_size(value) * math.sqrt(0.5))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return log_half_normal_cdf(self._normal_size(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.loc + self.scale / half_normal_tail_quantile(self._checked_level(value)).square()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `loc + scale / noise^2`, of shape `sample_shape + batch_shape`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        limits = torch.finfo(noise.dtype)
        draws = self.loc + self.scale / noise.square().clamp(min=4 * limits.tiny)
        return draws.clamp(max=limits.max)

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return torch.full_like(self.loc, torch.inf)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return torch.full_like(self.loc, torch.inf)

    @property
    def mode(self) -> Tensor:
        """`loc + scale / 3`."""
        return self.loc + self.scale / 3

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + 0.5 * (1 + 3 * _EULER + math.log(16 * math.pi))

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood, searched for over the distance of `loc` from the least draw.

        Of fewer than four draws the likelihood has no maximum: `loc` goes to the least one.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal: the likelihood then has no maximum.
            ArithmeticError: The search did not converge.

        Example:
            >>> d = Levy.fit(torch.tensor([1.0, 2.0, 3.0, 4.0, 30.0]))
            >>> d.loc < 1
            tensor(True)
        """
        data, shares = fit_data("Levy", data, weights)
        least = extremes("Levy", data, shares)[0].double()
        counts = shares > 0

        class Behind(Levy):
            arg_constraints = {"gap": constraints.positive, "scale": constraints.positive}  # noqa: RUF012

            def __init__(self, gap: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
                self.gap, self.loc, self.scale = gap, least - gap, scale

            def log_prob(self, value: Tensor) -> Tensor:
                inside = torch.where(counts, value, least)
                return _standard_log_density((inside - self.loc) / self.scale) - self.scale.log()

        Behind.__name__ = "Levy"
        gap = 0.2 * (weighted_quantile(data, shares, 0.5) - least).clamp(min=1e-3 * (data - least).abs().amax(0))
        scale = (shares / torch.where(counts, data - least + gap, 1)).sum(0).reciprocal()
        found = maximum_likelihood(Behind, data, shares, {"gap": gap, "scale": scale})
        return cls(found.loc.to(data.dtype), found.scale.to(data.dtype))

    def _landmarks(self) -> Tensor:
        # The tail changes over all orders of magnitude.
        near = torch.linspace(0.02, 0.5, 5, dtype=self.loc.dtype, device=self.loc.device)
        far = torch.logspace(0, 24, 33, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * torch.cat([near, far]).reshape((-1,) + (1,) * self.loc.dim())

    def _normal_size(self, value: Tensor) -> Tensor:
        distance = (self._checked_value(value) - self.loc) / self.scale
        below = distance <= 0
        return torch.where(below, torch.inf, torch.where(below, 1, distance).rsqrt())


def _standard_log_density(x: Tensor) -> Tensor:
    return -1.5 * x.log() - 0.5 / x - 0.5 * math.log(2 * math.pi)


_EULER = 0.57721566490153286
