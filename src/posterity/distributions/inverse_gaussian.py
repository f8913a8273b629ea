"""The inverse Gaussian distribution: when a Brownian motion with drift first reaches a level."""

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
from posterity.kernels import Source, log1mexp, mills_ratio
from posterity.kernels.exponential_integral import exp1e
from posterity.kernels.gauss_legendre import gauss_legendre
from posterity.kernels.normal_tails import _hazard_excess
from posterity.kernels.samplers import inverse_gaussian


class InverseGaussian(Distribution):
    r"""The inverse Gaussian (Wald) distribution, $\sqrt{\lambda / 2 \pi x^3}\, e^{-\lambda (x - \mu)^2 / 2 \mu^2 x}$.

    Args:
        loc: Mean $\mu$, positive; any shape that broadcasts against `concentration`.
        concentration: Shape $\lambda$, positive; the variance is $\mu^3 / \lambda$.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 15; Giner and Smyth
    (2016), statmod: Probability calculations for the inverse Gaussian distribution, for the tails.

    Example:
        >>> d = InverseGaussian(1.0, 2.0)
        >>> d.variance, d.log_survival_function(1000.0)
        (tensor(0.5000), tensor(-1008.9365))
    """

    arg_constraints = {"loc": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.nonnegative
    has_rsample = True

    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "concentration": concentration}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        outside = (value <= 0) | value.isposinf()
        x = torch.where(outside, 1, value)
        near, _ = self._scores(x)
        density = 0.5 * (self.concentration.log() - math.log(2 * math.pi) - 3 * x.log() - near.square())
        return torch.where(outside, -torch.inf, density)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return self.log_cdf(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        low, lower, upper = self._log_tails(value)
        return torch.where(low, lower, log1mexp(-upper))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        low, lower, upper = self._log_tails(value)
        return torch.where(low, log1mexp(-lower), upper)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws with the gradient of their quantiles, of shape `sample_shape + batch_shape`; positive and finite."""
        draws = inverse_gaussian(self.loc, self.concentration, tuple(sample_shape), source=generator)
        info = torch.finfo(draws.dtype)
        return draws.clamp(info.tiny, info.max)

    @property
    def mean(self) -> Tensor:
        """`loc`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """`loc**3 / concentration`."""
        return self.loc.square() * (self.loc / self.concentration)

    @property
    def mode(self) -> Tensor:
        """Below the mean, by more the smaller the concentration."""
        c = 1.5 * self.loc / self.concentration
        return self.loc / (c + (1 + c.square()).sqrt())

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        # E[log(X / loc)] is minus the scaled exponential integral of twice the ratio.
        gap = exp1e(2 * self.concentration / self.loc)
        return 0.5 * (math.log(2 * math.pi) + 1 + 3 * self.loc.log() - self.concentration.log()) - 1.5 * gap

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the mean, and one over the mean of `1 / x - 1 / mean`.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive, or the draws of one batch element are all equal: the likelihood then
                has no maximum.

        Source: Tweedie (1957), Statistical properties of inverse Gaussian distributions I.

        Example:
            >>> d = InverseGaussian.fit(torch.tensor([1.0, 2.0, 3.0]))
            >>> d.loc, d.concentration
            (tensor(2.), tensor(9.))
        """
        data, weights = fit_data("InverseGaussian", data, weights)
        cls(data.new_ones(()), 1.0)._check_values("data", data, constraints.positive)
        refuse_constant("InverseGaussian", data, weights)
        loc = (weights * data).sum(0)
        spread = (weights * ((data - loc) / loc).square() / data).sum(0)
        return cls(loc, 1 / spread)

    def _landmarks(self) -> Tensor:
        """Powers of the ratio to the mean, as wide as the tails are: like x^(1/2) below and like x above."""
        like = self.loc
        levels = torch.tensor(
            [-16, -8, -5, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 8, 16], dtype=like.dtype, device=like.device
        )
        z = levels.reshape((-1,) + (1,) * len(self.batch_shape))
        # The roots of sqrt(ratio) (x - 1) / sqrt(x) = z.
        w = z.square() * (0.5 * self.loc / self.concentration)
        larger = 1 + w + w.sqrt() * (w + 2).sqrt()
        return self.loc * torch.where(z > 0, larger, 1 / larger)

    def _scores(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Normal scores sqrt(lambda / x) (x / mu - 1) and, with a plus, the reflected one."""
        # Not the root of the inverse ratio, whose derivative divides by a square that may overflow.
        length = self.loc * (value / self.concentration).sqrt()
        return (value - self.loc) / length, (value + self.loc) / length

    def _log_tails(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the value is low, the log cdf there, and the log survival function elsewhere."""
        value = self._checked_value(value)
        info = torch.finfo(self.loc.dtype)
        outside = (value <= 0) | (value >= info.max)
        near, reflected = self._scores(torch.where(outside, 1, value))
        low = near < _SWITCH
        # The normal density at both scores differs by the factor exp(2 lambda / mu) of the reflection.
        left = torch.where(low, near, _SWITCH)
        lower = (mills_ratio(-left) + mills_ratio(reflected)).log() - 0.5 * left.square() - 0.5 * math.log(2 * math.pi)
        right = torch.where(low, 0, near)
        gap = torch.where(low, 1, reflected - near)
        close = gap < 1
        # What falls between two close arguments is integrated.
        integral = gauss_legendre(
            lambda t: _mills_decline(right.unsqueeze(-1) + t), torch.where(close, gap, 1), _NUM_NODES
        )
        apart = mills_ratio(right) - mills_ratio(right + torch.where(close, 1, gap))
        upper = torch.where(close, integral, apart).log() - 0.5 * right.square() - 0.5 * math.log(2 * math.pi)
        low = torch.where(outside, value <= 0, low)
        return low, torch.where(outside, -torch.inf, lower), torch.where(outside, -torch.inf, upper)


# Of the normal score: below it the lower tail is a sum, above it the upper tail is a difference that is kept whole.
_SWITCH = -0.5
_NUM_NODES = 10


def _mills_decline(t: Tensor) -> Tensor:
    """Minus the derivative of the Mills ratio."""
    return _hazard_excess(-t) * mills_ratio(t)


@register_kl(InverseGaussian, InverseGaussian)
def _kl_inverse_gaussian_inverse_gaussian(p: InverseGaussian, q: InverseGaussian) -> Tensor:
    ratio = (q.concentration / p.concentration).log()
    shift = (p.loc - q.loc) / q.loc
    return 0.5 * (torch.expm1(ratio) - ratio + q.concentration * shift.square() / p.loc)
