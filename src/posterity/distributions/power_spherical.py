"""The power spherical distribution: directions around a mean whose draws have gradients in any dimension."""

import math

import torch
from torch import Tensor
from torch.types import _size

from posterity.bijectors import constraints
from posterity.distributions.base import Distribution
from posterity.distributions.covariance import last_sizes
from posterity.distributions.directions import around, spread_around, unit, versine
from posterity.distributions.kl import register_kl
from posterity.distributions.von_mises_fisher import VonMisesFisher, cross_versine, mean_direction
from posterity.kernels import Source
from posterity.kernels.gamma_ratio import digamma_difference, log_gamma_ratio
from posterity.kernels.samplers import beta


class PowerSpherical(Distribution):
    r"""The power spherical distribution, with density $\propto (1 + loc \cdot x)^{concentration}$ on the unit sphere.

    Densities are with respect to the sphere's area. It is much like `VonMisesFisher` of the same mean, but its draws
    need no rejection. Concentration 0 is the uniform distribution.

    Args:
        loc: Mean direction, a unit vector, `[*batch_shape, n]` with n at least 2. Gradients are those along the sphere.
        concentration: Not negative, `[*batch_shape]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, n is below 2, or a value violates its constraint.

    Source: De Cao and Aziz, The Power Spherical Distribution, 2020, https://arxiv.org/abs/2006.04437

    Example:
        >>> d = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), 8.0)
        >>> d.mean, d.kl_divergence(VonMisesFisher(d.loc, 0.0))
        (tensor([0.0000, 0.0000, 0.8000]), tensor(1.3083))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.sphere,
        "concentration": constraints.nonnegative,
    }
    support = constraints.sphere
    has_rsample = True

    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        shape = last_sizes(loc, 1)
        if shape and shape[0] < 2:
            raise ValueError(
                f"loc of PowerSpherical must have at least two entries, but its shape is {tuple(loc.shape)}."
            )
        self._initialise({"loc": loc, "concentration": concentration}, event_shape=shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; minus infinity opposite to `loc`."""
        value, loc = self._checked_value(value, support=True), unit(self.loc)
        # (1 + t) / 2 from the nearer of the two poles.
        far = 0.5 * versine(value, loc)
        near = 0.5 * versine(value, -loc)
        log_share = torch.where(far < 0.5, torch.log1p(-far.clamp(max=0.5)), _log(near))
        nothing = (self.concentration == 0) & (log_share == -torch.inf)
        return torch.where(nothing, 0.0, self.concentration * log_share) - self._log_normaliser()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [n]`: half the versine is a beta variate."""
        half = torch.full_like(self.concentration, self._half())
        versines = 2 * beta(half, half + self.concentration, sample_shape, source=generator)
        return around(unit(self.loc), versines, generator)

    @property
    def mean(self) -> Tensor:
        """`loc` shortened by the mean cosine; a point inside the sphere."""
        return (1 - self._mean_versine()).unsqueeze(-1) * unit(self.loc)

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry, of shape `batch_shape + [n]`."""
        return self.covariance_matrix.diagonal(dim1=-2, dim2=-1)

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance of the entries, `[*batch_shape, n, n]`."""
        half = self._half()
        total = self.concentration + 2 * half
        # Var(t), and the mean of 1 - t^2 shared by the n - 1 other directions.
        along = 4 * (self.concentration + half) * half / total / total / (total + 1)
        across = 2 * (self.concentration + half) / total / (total + 1)
        return spread_around(unit(self.loc), along, across)

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats with respect to the sphere's area, of shape `batch_shape`."""
        half = self._half()
        return self._log_normaliser() + self.concentration * digamma_difference(self.concentration + half, half)

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        loc, length = mean_direction(cls, data, weights)
        concentration = (data.shape[-1] - 1) * length / (1 - length)
        return {"loc": loc, "concentration": concentration.clamp(min=1e-3)}

    def _half(self) -> float:
        return 0.5 * (self.event_shape[0] - 1)

    def _mean_versine(self) -> Tensor:
        return 2 * self._half() / (self.concentration + 2 * self._half())

    def _log_normaliser(self) -> Tensor:
        """The logarithm of the integral of ((1 + loc . x) / 2)^concentration over the sphere."""
        half = self._half()
        return half * math.log(4 * math.pi) - log_gamma_ratio(self.concentration + half, half)


def _log(share: Tensor) -> Tensor:
    positive = share > 0
    return torch.where(positive, torch.where(positive, share, 1.0).log(), -torch.inf)


@register_kl(PowerSpherical, VonMisesFisher)
def _kl_power_fisher(p: PowerSpherical, q: VonMisesFisher) -> Tensor:
    return q._log_normaliser() - p.entropy() + cross_versine(q, p.loc, p._mean_versine())
