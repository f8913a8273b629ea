"""The Laplace (double exponential) distribution, accurate far into both tails."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import located
from posterity.distributions.normal import Normal
from posterity.distributions.parameters import is_plain
from posterity.kernels import Source, uniform
from posterity.kernels.tracing import expm1


class Laplace(Distribution, torch.distributions.Laplace):
    r"""The Laplace distribution, with density $e^{-|x - loc| / scale} / (2 scale)$.

    Args:
        loc: Mean and median; any shape that broadcasts against `scale`.
        scale: Mean absolute deviation from `loc`, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Kotz, Kozubowski and Podgorski, The Laplace Distribution and Generalizations, chapter 2.

    Example:
        >>> d = Laplace(0.0, 1.0)
        >>> d.icdf(1e-10), d.log_survival_function(200.0)
        (tensor(-22.3327), tensor(-200.6931))
        >>> d.sample((2,), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z = self._standardised(value, support=True)
        return z.abs_().add_(self.scale.log().add_(math.log(2))).neg_()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return _standard_cdf(self._standardised(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return _standard_log_cdf(self._standardised(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return _standard_cdf(-self._standardised(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return _standard_log_cdf(-self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        # 2p below and 1 - p above one half are exact; each branch sees only its own half.
        below = (2 * level.clamp(max=0.5)).log()
        above = -(2 * (1 - level.clamp(min=0.5))).log()
        return self.loc + self.scale * torch.where(level < 0.5, below, above)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws by the inverse cdf of noise that is never 0, of shape `sample_shape + batch_shape`."""
        signed = self._signed_uniform(sample_shape, generator)
        size = signed.abs().log_()  # the size's negative: `copysign` takes care of that
        return located(size.copysign_(signed), self.loc, self.scale)

    def _signed_uniform(self, sample_shape: _size, generator: Source) -> Tensor:
        """Uniform numbers on (-1, 1), symmetric and never 0."""
        like, shape = self.loc, self._extended_shape(sample_shape)
        # torch's uniform numbers are multiples of eps / 2 in [0, 1). Half a step more, exact once they are centred,
        # makes them symmetric and keeps them from 0.
        half_step = torch.finfo(like.dtype).eps / 2
        if like.is_cpu and (generator is None or isinstance(generator, torch.Generator)) and is_plain():
            return like.new_empty(shape).uniform_(half_step - 1, 1.0, generator=generator)
        u = uniform(shape, source=generator, dtype=like.dtype, device=like.device)
        signed = u.mul_(2).add_(half_step - 1)
        # Other devices know numbers between those multiples.
        return torch.where(signed == 0, half_step, signed)

    @property
    def median(self) -> Tensor:
        """`loc`."""
        return self.loc

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the median, and the mean absolute deviation from it.

        Between the two middle draws of an even number every value is as likely; their mean is taken.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal: the likelihood then has no maximum.

        Example:
            >>> d = Laplace.fit(torch.tensor([0.0, 1.0, 5.0]))
            >>> d.loc, d.scale
            (tensor(1.), tensor(1.6667))
        """
        data, weights = fit_data("Laplace", data, weights)
        loc = _weighted_median(data, weights)
        return cls(loc, (weights * (data - loc).abs()).sum(0))

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale


def _weighted_median(data: Tensor, weights: Tensor) -> Tensor:
    ordered, order = data.sort(0)
    below = weights.expand_as(data).gather(0, order).cumsum(0)
    # A sum that is one half but for rounding is one half: the median then lies between two draws.
    slack = len(data) * torch.finfo(data.dtype).eps
    first = (below < 0.5 - slack).sum(0, keepdim=True)
    last = (below <= 0.5 + slack).sum(0, keepdim=True).clamp(max=len(data) - 1)
    return ordered.gather(0, first).lerp(ordered.gather(0, last), 0.5).squeeze(0)


# In both, each branch sees only its own half, so that the masked one cannot overflow into the gradient.


def _standard_cdf(z: Tensor) -> Tensor:
    below = 0.5 * z.clamp(max=0).exp()
    above = 1 - 0.5 * (-z.clamp(min=0)).exp()
    return torch.where(z < 0, below, above)


def _standard_log_cdf(z: Tensor) -> Tensor:
    below = z.clamp(max=0) - math.log(2)
    above = torch.log1p(-0.5 * (-z.clamp(min=0)).exp())
    return torch.where(z < 0, below, above)


@register_kl(Laplace, Laplace)
def _kl_laplace_laplace(p: Laplace, q: Laplace) -> Tensor:
    # With r the log ratio of scales, expm1(r) - r keeps its digits where the scales are close.
    ratio = p.scale / q.scale
    r = ratio.log()
    distance = (p.loc - q.loc).abs()
    return distance / q.scale + ratio * expm1(-distance / p.scale) + expm1(r) - r


@register_kl(Laplace, Normal)
def _kl_laplace_normal(p: Laplace, q: Normal) -> Tensor:
    ratio = p.scale / q.scale
    shift = (p.loc - q.loc) / q.scale
    return ratio.square() + 0.5 * shift.square() - ratio.log() - 1 + 0.5 * math.log(math.pi / 2)


@register_kl(Normal, Laplace)
def _kl_normal_laplace(p: Normal, q: Laplace) -> Tensor:
    ratio = p.scale / q.scale
    shift = p.loc - q.loc
    z = shift / p.scale
    # E|X - q.loc| / q.scale, from the mean of a folded normal distribution.
    folded = ratio * math.sqrt(2 / math.pi) * (-0.5 * z.square()).exp() + shift / q.scale * torch.erf(
        z * math.sqrt(0.5)
    )
    return folded - ratio.log() - 0.5 + 0.5 * math.log(2 / math.pi)
