"""The von Mises distribution: the normal distribution of the circle."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import (
    Source,
    bessel_ratio,
    bessel_ratio_complement,
    bessel_ratio_inverse,
    log_ive,
    von_mises_cdf,
    von_mises_icdf,
)
from posterity.kernels.reading import lies_within, readable, records_gradient
from posterity.kernels.samplers import von_mises
from posterity.kernels.von_mises import log_normaliser_of_many

# Beyond, the derivative of torch's i0e, a difference of Bessel functions, loses its digits.
_MODERATE = 20.0


# From here on, torch's i0e, which takes 24 ns for an element, is the slower way.
_MANY = 2000


class VonMises(Distribution, torch.distributions.VonMises):
    r"""Angles with the density $e^{\kappa \cos(x - loc)} / (2 \pi I_0(\kappa))$ on $[-\pi, \pi]$.

    Draws lie there, and the cdf starts at $-\pi$; the density is that of an angle, which any real number names. Mean
    and variance are circular: the direction `loc` and one minus the mean resultant length. Gradients of draws turn the
    circle, past its cut at $\pm\pi$: they are unbiased for periodic functions.

    Args:
        loc: Mean direction in radians, any real; any shape that broadcasts against `concentration`.
        concentration: $\kappa$, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Mardia and Jupp (2000), Directional Statistics, section 3.5.4.

    Example:
        >>> d = VonMises(0.5, 4.0)
        >>> d.mean, d.variance, d.cdf(0.5)
        (tensor(0.5000), tensor(0.1365), tensor(0.5002))
    """

    support = constraints.interval(-math.pi, math.pi)  # type: ignore[assignment]  # where torch has all angles
    has_rsample = True

    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "concentration": concentration}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, any angle, of shape `sample_shape + batch_shape`; it repeats with each turn."""
        value = self._checked_value(value)
        self._check_values("value", value, constraints.real)
        half = 0.5 * (value - self.loc)
        return -2 * self.concentration * half.sin().square() - self._log_scale()

    def cdf(self, value: Tensor) -> Tensor:
        """P(-pi <= X <= value)."""
        return self._between(-math.pi - self._direction(), self._angle(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(value < X <= pi)."""
        return self._between(self._angle(value), math.pi - self._direction())

    def icdf(self, value: Tensor) -> Tensor:
        """The angle in [-pi, pi] such that the probability `value` lies between -pi and it."""
        level = self._checked_level(value)
        loc = self._direction()
        # Probability between the antipode of loc and the angle; below 0 or above 1 in the neighbouring turns.
        target = level + self._from_antipode(-math.pi - loc)
        turns = target.detach().floor().clamp(-1, 1)
        angle = von_mises_icdf((target - turns).clamp(0, 1), self.concentration) + 2 * math.pi * turns
        inside = (loc + angle).clamp(-math.pi, math.pi)
        return torch.where(level == 0, -math.pi, torch.where(level == 1, math.pi, inside))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws in [-pi, pi], of shape `sample_shape + batch_shape`."""
        draws = self.loc + von_mises(self.concentration, tuple(sample_shape), source=generator)
        turns = (draws.detach() / (2 * math.pi)).round()
        return torch.sub(draws, turns, alpha=2 * math.pi).clamp(-math.pi, math.pi)

    @property
    def mean(self) -> Tensor:
        """The mean direction, `loc`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, one minus the mean resultant length `I_1 / I_0` of the concentration."""
        return bessel_ratio_complement(1.0, self.concentration)

    @property
    def mode(self) -> Tensor:
        """`loc` as an angle in [-pi, pi]."""
        return self._direction()

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.concentration * self.variance + self._log_scale()

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the direction and, through its inverse ratio of Bessel functions, the length of the mean.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`, in radians.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal or cancel: the
                likelihood then has no maximum at a positive concentration.

        Example:
            >>> VonMises.fit(torch.tensor([0.0, 1.0])).loc
            tensor(0.5000)
        """
        data, weights = fit_data("VonMises", data, weights)
        refuse_constant("VonMises", data, weights)
        x, w = data.double(), weights.double() / weights.double().sum(0)
        cosine, sine = (w * x.cos()).sum(0), (w * x.sin()).sum(0)
        length = torch.hypot(cosine, sine)
        if not torch._is_all_true((length > torch.finfo(data.dtype).eps) & (length < 1 - torch.finfo(x.dtype).eps)):
            raise ValueError(
                "data of VonMises.fit must neither cancel nor point all one way: the likelihood has no maximum then."
            )
        concentration = bessel_ratio_inverse(1.0, length)
        return cls(torch.atan2(sine, cosine).to(data.dtype), concentration.to(data.dtype))

    def _landmarks(self) -> Tensor:
        """Angles around `loc`, closer the higher the concentration, and the cut's neighbourhood."""
        offsets = torch.linspace(-8, 8, 17, dtype=self.loc.dtype, device=self.loc.device)
        offsets = offsets.reshape((-1,) + (1,) * len(self.batch_shape))
        points = self._direction() + (math.pi * offsets / 8) / (1 + 0.1 * self.concentration).sqrt()
        return (points - 2 * math.pi * (points / (2 * math.pi)).round()).clamp(-math.pi, math.pi)

    def _log_scale(self) -> Tensor:
        largest = _MODERATE if records_gradient(self.concentration) else torch.finfo(self.concentration.dtype).max
        if readable(self.concentration) and lies_within(self.concentration, 0.0, largest):
            if self.concentration.numel() > _MANY and _takes_polynomial(self.concentration):
                return log_normaliser_of_many(self.concentration)
            scaled: Tensor = torch.special.i0e(self.concentration)
            return (2 * math.pi * scaled).log()
        return log_ive(0.0, self.concentration) + math.log(2 * math.pi)

    def _direction(self) -> Tensor:
        """`loc` in [-pi, pi]."""
        turns = (self.loc.detach() / (2 * math.pi)).round()
        return self.loc - 2 * math.pi * turns

    def _angle(self, value: Tensor) -> Tensor:
        return self._checked_value(value).clamp(-math.pi, math.pi) - self._direction()

    def _between(self, start: Tensor, end: Tensor) -> Tensor:
        """The probability between two angles from loc, within [-2 pi, 2 pi] and no more than a turn apart."""
        # From whichever antipode is near, so that small probabilities are no difference of large ones.
        below = self._from_antipode(end.clamp(max=0)) - self._from_antipode(start.clamp(max=0))
        above = self._from_antipode(-start.clamp(min=0)) - self._from_antipode(-end.clamp(min=0))
        across = 1 - self._from_antipode(start.clamp(max=0)) - self._from_antipode(-end.clamp(min=0))
        return torch.where(end <= 0, below, torch.where(start >= 0, above, across)).clamp(0, 1)

    def _from_antipode(self, angle: Tensor) -> Tensor:
        """The probability between -pi and an angle from loc in [-2 pi, 0]; negative before -pi."""
        before = -von_mises_cdf(-(angle + 2 * math.pi).clamp(0, math.pi), self.concentration)
        return torch.where(angle < -math.pi, before, von_mises_cdf(angle.clamp(min=-math.pi), self.concentration))


def _takes_polynomial(concentration: Tensor) -> bool:
    return concentration.dtype is torch.float32 and not records_gradient(concentration)


@register_kl(VonMises, VonMises)
def _kl_von_mises_von_mises(p: VonMises, q: VonMises) -> Tensor:
    # E_p[cos(X - q.loc)] is the resultant length times the cosine between the directions.
    length, missing = bessel_ratio(1.0, p.concentration), p.variance
    apart = 2 * (0.5 * (p.loc - q.loc)).sin().square()
    scales = log_ive(0.0, q.concentration) - log_ive(0.0, p.concentration)
    return q.concentration * (missing + length * apart) - p.concentration * missing + scales
