"""The relaxed Bernoulli distribution on (0, 1), whose draws are smooth in the parameters."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus
from torch.types import _size

from posterity.distributions.binary_odds import BinaryOdds
from posterity.distributions.expectation import expectation
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.location_scale import is_spare
from posterity.distributions.logistic import Logistic
from posterity.distributions.modes import search_mode
from posterity.distributions.tail_noise import logistic_noise
from posterity.kernels import Source
from posterity.kernels.elementwise import in_blocks
from posterity.kernels.guarded_logarithms import xlog1py, xlogy
from posterity.kernels.reading import may_hold_nan, readable, records_gradient


class RelaxedBernoulli(BinaryOdds):
    r"""The sigmoid of (logits + logistic noise) / temperature: near 0 or 1 at low temperatures.

    Args:
        temperature: Positive; to 0 the Bernoulli distribution is approached.
        probs: Probability of a draw above one half, in (0, 1). Give this or `logits`.
        logits: Log odds of that.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Both or neither of `probs` and `logits` are given, shapes do not broadcast, or a value violates
            its constraint.

    Source: Maddison, Mnih and Teh, The Concrete Distribution, 2017, appendix B, https://arxiv.org/abs/1611.00712

    Example:
        >>> d = RelaxedBernoulli(0.1, logits=torch.tensor(1.0))
        >>> d.survival_function(0.5), d.log_prob(torch.tensor(1e-30))
        (tensor(0.7311), tensor(58.8665))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "temperature": constraints.positive,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support = constraints.unit_interval
    has_rsample = True

    temperature: Tensor

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise_odds(probs, logits, {"temperature": temperature}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        t, logits = self.temperature, self.logits
        if readable(value, t) and not records_gradient(value, t, logits):
            density = in_blocks(_log_density, value, t, logits)
            if not may_hold_nan(density):
                return density
        z = t * _logit(value) - logits
        # From the nearer end: the logistic density is that of -z too.
        low = xlogy(t - 1, value) - xlog1py(t + 1, -value) - logits - 2 * softplus(z.clamp(max=_MOST), threshold=_MOST)
        high = (
            xlog1py(t - 1, -value) - xlogy(t + 1, value) + logits - 2 * softplus((-z).clamp(max=_MOST), threshold=_MOST)
        )
        return self._inside_only(value, t.log() + torch.where(value < 0.5, low, high))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 or 1 outside the support."""
        return torch.sigmoid(self._standardised(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return logsigmoid(self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 or 0 outside the support."""
        return torch.sigmoid(-self._standardised(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return logsigmoid(-self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return torch.sigmoid((self.logits + _logit(self._checked_level(value))) / self.temperature)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape`, never 0 or 1."""
        noise = logistic_noise(self, sample_shape, generator)
        info = torch.finfo(noise.dtype)
        if is_spare():
            return noise.add_(self.logits).div_(self.temperature).sigmoid_().clamp_(info.tiny, 1 - info.eps / 2)
        return torch.sigmoid((self.logits + noise) / self.temperature).clamp(info.tiny, 1 - info.eps / 2)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`, integrated over the logistic noise."""

        def log_slope(noise: Tensor) -> Tensor:
            scaled = (self.logits + noise) / self.temperature
            return logsigmoid(scaled) + logsigmoid(-scaled)

        # Two is the entropy of the noise.
        return 2 - self.temperature.log() + self._over_noise(log_slope)

    @property
    def mode(self) -> Tensor:
        """Where the density is greatest; up to temperature 1 an end of the interval, where it may be infinite."""
        ends = (self.logits > 0).to(self.temperature.dtype)
        return torch.where(self.temperature <= 1, ends, search_mode(self))

    def _expectation(self, function: Any) -> Tensor:
        # Over the noise the integrand has no singular ends.
        return self._over_noise(lambda noise: function(torch.sigmoid((self.logits + noise) / self.temperature)))

    def _over_noise(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        return expectation(Logistic(torch.zeros_like(self.temperature), 1.0), function)

    def _landmarks(self) -> Tensor:
        # Close to 1 no number lies between the points of a quadrature, and the density may be infinite there.
        eps = torch.finfo(self.temperature.dtype).eps
        return super()._landmarks().clamp(eps, 1 - eps**0.5)

    def _of_logits(self) -> Logistic:
        return Logistic(self.logits / self.temperature, 1 / self.temperature, validate_args=False)

    def _standardised(self, value: Tensor) -> Tensor:
        value = self._checked_value(value)
        below, above = value <= 0, value >= 1
        # The slope of the logit at an end is infinite.
        inner = self.temperature * _logit(torch.where(below | above, 0.5, value)) - self.logits
        return torch.where(below, -torch.inf, torch.where(above, torch.inf, inner))


@register_kl(RelaxedBernoulli, RelaxedBernoulli)
def _kl_relaxed_bernoulli_relaxed_bernoulli(p: RelaxedBernoulli, q: RelaxedBernoulli) -> Tensor:
    # The logits of the draws, whose divergence is the same, are logistic.
    return kl_divergence(p._of_logits(), q._of_logits())


# Beyond it softplus is the identity to the rounding of float64.
_MOST = 40.0


def _log_density(value: Tensor, t: Tensor, logits: Tensor) -> Tensor:
    """NaN at the ends at temperature 1, and outside."""
    log, log_rest = value.log(), torch.log1p(-value)
    z = t * (log - log_rest) - logits
    # The logistic density is symmetric; the nearer end, where z counts with its sign, is joined with the slope.
    side = torch.copysign(torch.ones_like(t), z)
    signed = side * t
    slope = (signed - 1) * log_rest - (signed + 1) * log
    return t.log() + side * logits + slope - 2 * torch.log1p((-z.abs()).exp())


def _logit(x: Tensor) -> Tensor:
    return x.log() - torch.log1p(-x)
