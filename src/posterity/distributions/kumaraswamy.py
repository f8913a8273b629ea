"""The Kumaraswamy distribution: on the unit interval like the beta, with everything in closed form."""

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.constant_data import refuse_constant, refuse_ends
from posterity.distributions.cumulative_hazard import CumulativeHazard
from posterity.distributions.power_landmarks import power_landmarks
from posterity.kernels import Source, log1mexp
from posterity.kernels.incomplete_beta import widened

_EULER = 0.57721566490153286


class Kumaraswamy(CumulativeHazard):
    r"""The Kumaraswamy distribution, with density $a b x^{a-1} (1 - x^a)^{b-1}$ on [0, 1].

    Args:
        concentration1: a, positive; any shape that broadcasts against `concentration0`.
        concentration0: b, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Jones (2009), Kumaraswamy's distribution: A beta-type distribution with some tractability advantages.

    Example:
        >>> d = Kumaraswamy(2.0, 3.0)
        >>> d.mean, d.survival_function(0.999)
        (tensor(0.4571), tensor(7.9877e-09))
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.unit_interval
    has_rsample = True

    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self, concentration1: Tensor | float, concentration0: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self._initialise(
            {"concentration1": concentration1, "concentration0": concentration0}, validate_args=validate_args
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        a, b = self.concentration1, self.concentration0
        power, log_rest = _times(a - 1, value.log()), _times(b - 1, log1mexp(-a * value.log()))
        return a.log() + b.log() + power + log_rest

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self._at(-torch.log1p(-self._checked_level(value)))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws inside (0, 1) by the inverse survival function, of shape `sample_shape + batch_shape`."""
        draws = self._at(-self._open_uniform(sample_shape, generator).log())
        info = torch.finfo(draws.dtype)
        return draws.clamp(info.tiny, 1 - info.eps / 2)

    @property
    def mean(self) -> Tensor:
        """`b B(1 + 1 / a, b)`."""
        return self._log_moment(1).exp().to(self.concentration1.dtype)

    @property
    def variance(self) -> Tensor:
        """From the first two moments, `b B(1 + n / a, b)`, in double precision."""
        first, second = self._log_moment(1), self._log_moment(2)
        return ((2 * first).exp() * torch.expm1(second - 2 * first)).to(self.concentration1.dtype)

    @property
    def mode(self) -> Tensor:
        """`((a - 1) / (a b - 1))**(1 / a)`, or the end where the density is greatest; 0 where it is at both."""
        a, b = self.concentration1, self.concentration0
        inner = (a > 1) & (b > 1)
        ratio = torch.where(inner, (a - 1) / torch.where(inner, a * b - 1, 1), 0.5)
        ends = torch.where((a >= 1) & (b <= 1) & ((a > 1) | (b < 1)), torch.ones_like(a), 0)
        return torch.where(inner, ratio.pow(1 / a), ends)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        a, b = self.concentration1, self.concentration0
        harmonic = torch.digamma(b + 1) + _EULER
        return (1 - 1 / b) + (1 - 1 / a) * harmonic - a.log() - b.log()

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        refuse_ends(cls.__name__, data)
        refuse_constant(cls.__name__, data, weights)
        one = torch.ones_like((weights * data).sum(0))
        return {"concentration1": one, "concentration0": one}

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _at(self, hazard: Tensor) -> Tensor:
        """The value whose survival function is exp(-hazard)."""
        return (log1mexp(hazard / self.concentration0) / self.concentration1).exp()

    def _hazard(self, value: Tensor) -> Tensor:
        """-log P(X > value)."""
        value = self._checked_value(value)
        inside = (value > 0) & (value < 1)
        hazard = -self.concentration0 * log1mexp(-self.concentration1 * torch.where(inside, value, 0.5).log())
        return torch.where(inside, hazard, torch.where(value > 0, torch.inf, 0))

    def _log_moment(self, order: int) -> Tensor:
        a, b = widened(self.concentration1), widened(self.concentration0)
        shifted = 1 + order / a
        return b.log() + torch.lgamma(shifted) + torch.lgamma(b) - torch.lgamma(shifted + b)


def _times(power: Tensor, log: Tensor) -> Tensor:
    """The logarithm of a power, which is 0 for the power 0 of 0."""
    undefined = (power == 0) & log.isinf()
    return torch.where(undefined, 0, power * torch.where(undefined, 0, log))
