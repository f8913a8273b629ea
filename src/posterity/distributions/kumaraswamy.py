"""The Kumaraswamy distribution: on the unit interval like the beta, with everything in closed form."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.constant_data import refuse_constant, refuse_ends
from posterity.distributions.cumulative_hazard import CumulativeHazard
from posterity.distributions.expectation import expectation
from posterity.distributions.gumbel import Gumbel
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import is_spare
from posterity.distributions.power_landmarks import power_landmarks
from posterity.kernels import Source, log1mexp
from posterity.kernels.elementwise import in_blocks
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.reading import lies_within, may_hold_nan, readable, records_gradient
from posterity.kernels.tracing import expm1

# Down to it, the rounding of a power near 1 moves a draw by no more than two units of rounding.
_LEAST_DIRECT = 0.25

# The density of -log(T) for standard exponential T has long underflown there; an infinity would spoil gradients.
_LARGE = 50.0

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
        if readable(value, a) and not records_gradient(value, a, b):
            density = in_blocks(_log_density, value, a, b)
            if not may_hold_nan(density):
                return density
        power, log_rest = _times(a - 1, value.log()), _times(b - 1, log1mexp(-a * value.log()))
        return self._inside_only(value, a.log() + b.log() + power + log_rest)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self._at(-torch.log1p(-self._checked_level(value)))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws inside (0, 1) by the inverse survival function, of shape `sample_shape + batch_shape`."""
        level = self._open_uniform(sample_shape, generator)
        info = torch.finfo(level.dtype)
        a, b = self.concentration1, self.concentration0
        if is_spare() and readable(level, a) and lies_within(a, _LEAST_DIRECT, torch.inf):
            return level.log_().div_(b).expm1_().neg_().pow_(a.reciprocal()).clamp_(info.tiny, 1 - info.eps / 2)
        return self._at(-level.log()).clamp(info.tiny, 1 - info.eps / 2)

    @property
    def mean(self) -> Tensor:
        """`b B(1 + 1 / a, b)`."""
        return self._log_moment(1).exp().to(self.concentration1.dtype)

    @property
    def variance(self) -> Tensor:
        """From the first two moments, `b B(1 + n / a, b)`, in double precision."""
        first, second = self._log_moment(1), self._log_moment(2)
        return ((2 * first).exp() * expm1(second - 2 * first)).to(self.concentration1.dtype)

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
        below, above = value <= 0, value >= 1
        inner = torch.where(below | above, 0.5, value)
        hazard = -self.concentration0 * log1mexp(-self.concentration1 * inner.log())
        return torch.where(below, 0, torch.where(above, torch.inf, hazard))

    def _log_moment(self, order: int) -> Tensor:
        a, b = widened(self.concentration1), widened(self.concentration0)
        shifted = 1 + order / a
        return b.log() + torch.lgamma(shifted) + torch.lgamma(b) - torch.lgamma(shifted + b)


def _log_density(value: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """NaN at an end that has the power 0, and outside."""
    log = value.log()
    return a.log() + b.log() + (a - 1) * log + (b - 1) * log1mexp(-a * log)


def _times(power: Tensor, log: Tensor) -> Tensor:
    """The logarithm of a power, which is 0 for the power 0 of 0."""
    undefined = (power == 0) & log.isinf()
    return torch.where(undefined, 0, power * torch.where(undefined, 0, log))


@register_kl(Kumaraswamy, Kumaraswamy)
def _kl_kumaraswamy_kumaraswamy(p: Kumaraswamy, q: Kumaraswamy) -> Tensor:
    # Y = X^p.concentration1 is 1 - exp(-T / b) with T standard exponential: means of log X and log(1 - Y) are known,
    # what is left is the mean of log(1 - Y^r) - log(1 - Y).
    b, d = widened(p.concentration0), widened(q.concentration0)
    ratio = widened(q.concentration1) / widened(p.concentration1)
    log_gap = (d / b).log()
    like = torch.zeros_like(b + ratio)
    rest = expectation(Gumbel(like, 1.0), lambda noise: _log_rest_ratio((-noise).clamp(max=_LARGE).exp() / b, ratio))
    divergence = expm1(log_gap) - log_gap - ratio.log() + (ratio - 1) * (torch.digamma(b + 1) + _EULER) - (d - 1) * rest
    return divergence.to(torch.promote_types(p.concentration0.dtype, q.concentration0.dtype))


def _log_rest_ratio(hazard: Tensor, power: Tensor) -> Tensor:
    """log(1 - y^power) - log(1 - y) at the y whose `-log(1 - y)` is given."""
    # Where exp(-hazard) would underflow, y^power is 1 - power * exp(-hazard).
    tiny = torch.finfo(hazard.dtype).tiny
    far = hazard > -0.5 * math.log(tiny)
    near = torch.where(far, 1, hazard.clamp(min=tiny))
    return torch.where(far, power.log(), log1mexp(-power * log1mexp(near)) + near)
