"""The von Mises-Fisher distribution of directions in any number of dimensions."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.bijectors import constraints
from posterity.distributions.base import Distribution
from posterity.distributions.covariance import last_sizes
from posterity.distributions.directions import around, spread_around, unit, versine
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import Source, bessel_ratio, bessel_ratio_complement, bessel_ratio_inverse, log_ive
from posterity.kernels.bessel import bessel_ratio_slope
from posterity.kernels.elementwise import elementwise
from posterity.kernels.samplers import von_mises_fisher_versine
from posterity.runtime import validation_enabled


class VonMisesFisher(Distribution):
    r"""The von Mises-Fisher distribution, with density $\propto e^{concentration\,loc \cdot x}$ on the unit sphere.

    Densities are with respect to the sphere's area. Concentration 0 is the uniform distribution; in two
    dimensions it is that of von Mises.

    Args:
        loc: Mean direction, a unit vector, `[*batch_shape, n]` with n at least 2. Gradients are those along the sphere.
        concentration: Not negative, `[*batch_shape]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, n is below 2, or a value violates its constraint.

    Source: Mardia and Jupp, Directional Statistics, 2000, section 9.3.2.

    Example:
        >>> d = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), 10.0)
        >>> d.mean, d.entropy()
        (tensor([0.0000, 0.0000, 0.9000]), tensor(0.5353))
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
                f"loc of VonMisesFisher must have at least two entries, but its shape is {tuple(loc.shape)}."
            )
        self._initialise({"loc": loc, "concentration": concentration}, event_shape=shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return -self.concentration * versine(value, unit(self.loc)) - self._log_normaliser()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws by rejection, of shape `sample_shape + batch_shape + [n]`, with the gradient of their quantiles."""
        size = self.event_shape[0]
        versines = von_mises_fisher_versine(self.concentration, size, sample_shape, source=generator)
        return around(unit(self.loc), versines, generator)

    @property
    def mean(self) -> Tensor:
        """`loc` shortened by the mean cosine; a point inside the sphere."""
        return bessel_ratio(0.5 * self.event_shape[0], self.concentration).unsqueeze(-1) * unit(self.loc)

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry, of shape `batch_shape + [n]`."""
        return self.covariance_matrix.diagonal(dim1=-2, dim2=-1)

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance of the entries, `[*batch_shape, n, n]`."""
        order = 0.5 * self.event_shape[0]
        positive = self.concentration > 0
        ratio = bessel_ratio(order, self.concentration) / torch.where(positive, self.concentration, 1.0)
        across = torch.where(positive, ratio, 0.5 / order)
        return spread_around(unit(self.loc), bessel_ratio_slope(order, self.concentration), across)

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats with respect to the sphere's area, of shape `batch_shape`."""
        return self._log_normaliser() + self.concentration * self._mean_versine()

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the direction of the mean, and the concentration whose mean is as long.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, n]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is no unit vector, or all of them are equal: the likelihood then has no maximum.

        Source: Mardia and Jupp, Directional Statistics, 2000, equations 10.3.2 and 10.3.3.

        Example:
            >>> VonMisesFisher.fit(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).loc
            tensor([0.7071, 0.7071])
        """
        data, weights = fit_data("VonMisesFisher", data, weights, event_rank=1)
        loc, length = mean_direction(cls, data, weights)
        concentration = bessel_ratio_inverse(0.5 * data.shape[-1], length)
        return cls(loc.to(data.dtype), concentration.to(data.dtype))

    def _mean_versine(self) -> Tensor:
        return bessel_ratio_complement(0.5 * self.event_shape[0], self.concentration)

    def _log_normaliser(self) -> Tensor:
        size = self.event_shape[0]
        return 0.5 * size * math.log(2 * math.pi) + _log_reduced_ive(0.5 * size - 1, self.concentration)


def mean_direction(owner: type[Distribution], data: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Direction `[*batch, n]` and length `[*batch]` of the mean of unit vectors, in float64.

    Raises:
        ValueError: A draw is no unit vector, or all of them are equal.
    """
    if validation_enabled() and not bool(constraints.sphere.check(data).all()):
        raise ValueError(f"data of {owner.__name__}.fit must be unit vectors: divide them by their length.")
    data, weights = unit(data.double()), weights.double().unsqueeze(-1)
    # Weights of single precision add up to 1 within its rounding only.
    weights = weights / weights.sum(0)
    mean = (weights * data).sum(0)
    length = mean.norm(dim=-1)
    if not bool((length < 1 - 1e-14).all()):
        raise ValueError(
            f"data of {owner.__name__}.fit must not all be one direction: the likelihood then has no maximum."
        )
    # Where opposite draws cancel, every direction is as likely.
    anywhere = torch.zeros_like(mean)
    anywhere[..., 0] = 1
    loc = torch.where(length.unsqueeze(-1) > 0, mean / length.clamp(min=1e-300).unsqueeze(-1), anywhere)
    return loc, length


def _log_reduced_slope(order: Tensor, x: Tensor, value: Tensor) -> Tensor:
    return -bessel_ratio_complement(order + 1, x)


@elementwise(None, _log_reduced_slope)
def _log_reduced_ive(order: Tensor, x: Tensor) -> Tensor:
    """The logarithm of I_order(x) e^-x / x^order, which has no singularity at 0 (DLMF 10.25.2)."""
    small = x < 1e-3
    safe = torch.where(small, 1.0, x)
    series = -order * math.log(2) - torch.lgamma(order + 1) - x + 0.25 * x.square() / (order + 1)
    return torch.where(small, series, log_ive(order, safe) - order * safe.log())


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_fisher_fisher(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    gain = q._log_normaliser() - p._log_normaliser() - p.concentration * p._mean_versine()
    return gain + cross_versine(q, p.loc, p._mean_versine())


def cross_versine(q: VonMisesFisher, loc: Tensor, mean_versine: Tensor) -> Tensor:
    """The concentration of `q` times the mean of 1 - q.loc . x, for x with this mean versine around `loc`."""
    return q.concentration * (mean_versine + (1 - mean_versine) * versine(unit(loc), unit(q.loc)))
