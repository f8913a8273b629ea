"""The continuous Bernoulli distribution on the unit interval: an exponential one cut off at both ends."""

from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.beta import Beta
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.parameters import BinaryProbability, exactly_one
from posterity.distributions.uniform import Uniform
from posterity.kernels import Source, log1mexp
from posterity.kernels.box_cox import expm1_over, log1p_over
from posterity.kernels.reading import lies_within, readable, records_gradient
from posterity.kernels.tracing import expm1
from posterity.kernels.uniform_cumulants import uniform_cgf, uniform_tilted_mean, uniform_tilted_variance


class ContinuousBernoulli(BinaryProbability, Distribution, torch.distributions.ContinuousBernoulli):
    r"""The continuous Bernoulli distribution, with density proportional to $probs^x (1 - probs)^{1-x}$ on [0, 1].

    All formulas are smooth at `probs` = 1/2, where it is uniform.

    Args:
        probs: In [0, 1]; not the mean.
        logits: Log odds of `probs`: the density is proportional to `exp(logits * x)`. Give one of the two.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The parameter is neither a number nor a real tensor.
        ValueError: Not exactly one is given, or a value violates its constraint.

    Source: Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders.

    Example:
        >>> d = ContinuousBernoulli(logits=torch.tensor([-3.0, 0.0, 1e-6]))
        >>> d.mean, d.prob(0.5)
        (tensor([0.2809, 0.5000, 0.5000]), tensor([0.7045, 1.0000, 1.0000]))
    """

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise(exactly_one("ContinuousBernoulli", probs=probs, logits=logits), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        x = self._checked_value(value, support=True)
        if self._is_moderate(x):
            tilt = _off_zero(self.logits)
            return self._inside_only(x, (tilt * x).sub_((torch.expm1(tilt).div_(tilt)).log_()))
        tilt = self._tilt()
        # From the end where the density is highest.
        distance = torch.where(tilt > 0, 1 - x, x)
        size = _size_of(tilt)
        return self._inside_only(x, -size * distance - uniform_cgf(-size))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support and 1 above it."""
        return self.log_cdf(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        x = self._checked_value(value).clamp(0, 1)
        return self._log_below(x, 1 - x, self._tilt())

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support and 0 above it."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        x = self._checked_value(value).clamp(0, 1)
        return self._log_below(1 - x, x, -self._tilt())

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        return self._quantile(level, 1 - level)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws inside (0, 1) by the inverse cdf of uniform noise, of shape `sample_shape + batch_shape`."""
        u = self._open_uniform(sample_shape, generator)
        info = torch.finfo(u.dtype)
        if self._is_moderate(u):
            tilt = _off_zero(self.logits)
            return u.mul_(torch.expm1(tilt)).log1p_().div_(tilt).clamp_(info.tiny, 1 - info.eps / 2)
        return self._quantile(u, 1 - u).clamp(info.tiny, 1 - info.eps / 2)

    @property
    def mean(self) -> Tensor:
        """`1 / (1 - exp(-logits)) - 1 / logits`."""
        return uniform_tilted_mean(self._tilt())

    @property
    def variance(self) -> Tensor:
        """The derivative of the mean with respect to the logits."""
        return uniform_tilted_variance(self._tilt())

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    @property
    def mode(self) -> Tensor:
        """1 for positive logits, else 0."""
        tilt = self._tilt()
        return (tilt > 0).to(tilt.dtype)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        tilt = -_size_of(self._tilt())
        return uniform_cgf(tilt) - tilt * uniform_tilted_mean(tilt)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the logits under which the mean is that of the data, by Newton's steps.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is outside [0, 1], or the draws of one batch element are all 0 or all 1: the likelihood
                then has no maximum.

        Source: Cohen (1991), A Padé approximant to the inverse Langevin function, for the first step.

        Example:
            >>> ContinuousBernoulli.fit(torch.tensor([0.1, 0.3, 0.2])).mean
            tensor(0.2000)
        """
        data, weights = fit_data("ContinuousBernoulli", data, weights)
        cls(logits=data.new_zeros(()))._check_values("data", data, cls.support)
        above = (weights * data).sum(0).double()
        below = (weights * (1 - data)).sum(0).double()
        if not torch._is_all_true((above > 0) & (below > 0)):
            raise ValueError(
                "data of ContinuousBernoulli.fit must not all be 0 or all be 1: the likelihood has no maximum then."
            )
        # Seen from the nearer end, so that the mean keeps its digits.
        mean = torch.minimum(above, below) / (above + below)
        gap = 2 * mean - 1
        tilt = gap * (3 - gap.square()) / (2 * mean * (1 - mean))
        for _ in range(_NUM_STEPS):
            tilt = tilt - (uniform_tilted_mean(tilt) - mean) / uniform_tilted_variance(tilt)
        return cls(logits=torch.where(above > below, -tilt, tilt).to(data.dtype))

    def _tilt(self) -> Tensor:
        """The logits, finite also for certain events."""
        logits: Tensor = self.logits
        largest = torch.finfo(logits.dtype).max ** 0.5
        return logits.clamp(-largest, largest)

    def _is_moderate(self, x: Tensor) -> bool:
        """Whether formulas with a removable singularity at zero and cancellation at large logits serve beside `x`."""
        logits: Tensor = self.logits
        return readable(logits, x) and not records_gradient(logits, x) and lies_within(logits, -_MODERATE, _MODERATE)

    def _log_below(self, x: Tensor, rest: Tensor, tilt: Tensor) -> Tensor:
        """The logarithm of P(X <= x) with x = 1 - rest, for the given logits."""
        none = x <= 0
        log_x = torch.where(none, 1, x).log()
        # Towards a high upper end the growth exp(tilt) is taken out of both.
        growth = torch.where(tilt > 0, tilt, 0) * rest
        size = _size_of(tilt)
        below = log_x + uniform_cgf(-size * x) - uniform_cgf(-size) - growth
        all_ = rest <= 0
        log_above = torch.where(all_, 1, rest).log()
        falling = torch.where(tilt > 0, 0, -tilt) * x
        above = log_above + uniform_cgf(-size * rest) - uniform_cgf(-size) - falling
        near_one = (above < -0.7) & ~all_
        complement = log1mexp(torch.where(near_one, -above, 1))
        result = torch.where(near_one, complement, torch.where(all_, 0, below))
        return torch.where(none, -torch.inf, result)

    def _quantile(self, level: Tensor, rest: Tensor) -> Tensor:
        """The value at `level` = 1 - `rest`."""
        tilt = self._tilt()
        near = tilt.abs() < 1
        flat = torch.where(near, tilt, 0)
        steep = torch.where(near, 1, tilt)
        size = steep.abs()
        fall = -expm1(-size)
        # The end where the density is highest is at distance -log(1 - p fall) / size, p the probability between.
        p, q = torch.where(steep > 0, rest, level), torch.where(steep > 0, level, rest)
        from_end = -torch.where(p < 0.5, torch.log1p(-p * fall), (q + p * (-size).exp()).log()) / size
        # Seen from the other end, where q is small against exp(-size).
        growth = q * expm1(size.clamp(max=80))
        beyond = torch.log1p(growth.clamp(max=1)) / size
        distance = torch.where(growth < 1, 1 - beyond, from_end)
        from_other = torch.where(growth < 1, beyond, 1 - from_end)
        curved = torch.where(steep > 0, from_other, distance)
        return torch.where(near, _flat_quantile(level, flat), curved).clamp(0, 1)


_NUM_STEPS = 5


_MODERATE = 8.0


def _off_zero(tilt: Tensor) -> Tensor:
    """The logits without zeros, by less than a rounding of any result."""
    return torch.where(tilt.abs() < 1e-30, 1e-30, tilt)


def _size_of(tilt: Tensor) -> Tensor:
    # The slope of abs() at 0 is 0, which is neither side's.
    return torch.where(tilt > 0, tilt, -tilt)


def _flat_quantile(level: Tensor, tilt: Tensor) -> Tensor:
    return log1p_over(tilt, level * expm1_over(tilt, torch.ones_like(tilt)))


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _kl_continuous_bernoulli_continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    tilt, other = p._tilt(), q._tilt()
    return (tilt - other) * p.mean - uniform_cgf(tilt) + uniform_cgf(other)


@register_kl(Beta, ContinuousBernoulli)
def _kl_beta_continuous_bernoulli(p: Beta, q: ContinuousBernoulli) -> Tensor:
    return uniform_cgf(q._tilt()) - q._tilt() * p.mean - p.entropy()


@register_kl(Uniform, ContinuousBernoulli)
def _kl_uniform_continuous_bernoulli(p: Uniform, q: ContinuousBernoulli) -> Tensor:
    inside = (p.low >= 0) & (p.high <= 1)
    return torch.where(inside, uniform_cgf(q._tilt()) - q._tilt() * p.mean - p.entropy(), torch.inf)
