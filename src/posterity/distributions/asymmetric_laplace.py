"""The asymmetric Laplace distribution: exponential tails of different lengths on either side."""

from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.tail_noise import log_levels
from posterity.kernels import Source


class AsymmetricLaplace(Distribution):
    r"""The asymmetric Laplace distribution.

    With $z = (x - loc) / scale$ its density is proportional to $e^{-asymmetry\, z}$ above `loc` and to
    $e^{z / asymmetry}$ below it.

    Args:
        loc: The mode; the parameters' shapes broadcast.
        scale: Positive.
        asymmetry: Positive; above 1 the lower tail is the longer one. The square is the ratio of the probabilities
            below and above `loc`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Kotz, Kozubowski and Podgorski, The Laplace Distribution and Generalizations, 2001, chapter 3,
    https://doi.org/10.1007/978-1-4612-0173-1

    Example:
        >>> d = AsymmetricLaplace(loc=0.0, scale=1.0, asymmetry=2.0)
        >>> d.cdf(0.0), d.mean
        (tensor(0.8000), tensor(-1.5000))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    loc: Tensor
    scale: Tensor
    asymmetry: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        asymmetry: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise({"loc": loc, "scale": scale, "asymmetry": asymmetry}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        z = self._standardised(value, support=True)
        height = self.scale.log() + (self.asymmetry + 1 / self.asymmetry).log()
        return z.clamp(max=0) / self.asymmetry - z.clamp(min=0) * self.asymmetry - height

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return _cdf(self._standardised(value), self.asymmetry)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return _log_cdf(self._standardised(value), self.asymmetry)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return _cdf(-self._standardised(value), 1 / self.asymmetry)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return _log_cdf(-self._standardised(value), 1 / self.asymmetry)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        return self._quantile(level.log(), torch.log1p(-level))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws as quantiles of noise that resolves both tails, of shape `sample_shape + batch_shape`."""
        return self._quantile(*log_levels(self, sample_shape, generator))

    @property
    def mean(self) -> Tensor:
        """`loc + scale * (1 / asymmetry - asymmetry)`."""
        return self.loc + self.scale * (1 / self.asymmetry - self.asymmetry)

    @property
    def variance(self) -> Tensor:
        """`scale^2 * (1 / asymmetry^2 + asymmetry^2)`."""
        return (self.scale / self.asymmetry).square() + (self.scale * self.asymmetry).square()

    @property
    def mode(self) -> Tensor:
        """`loc`."""
        return self.loc

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return 1 + self.scale.log() + (self.asymmetry + 1 / self.asymmetry).log()

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: `loc` is the draw for which it is greatest, the others follow in closed form.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The likelihood has no maximum, because one side of an outermost draw would get all the
                probability.

        Source: Kotz, Kozubowski and Podgorski (2001), section 3.5.

        Example:
            >>> d = AsymmetricLaplace.fit(torch.tensor([-1.0, -0.1, 0.0, 0.1, 0.2, 2.0]))
            >>> d.loc
            tensor(0.)
        """
        data, weights = fit_data("AsymmetricLaplace", data, weights)
        ordered, order = data.sort(0)
        w = weights.expand_as(data).gather(0, order)
        # Mean distances of the draws below and above each draw, summed from their own end.
        gaps = ordered.diff(dim=0)
        none = torch.zeros_like(ordered[:1])
        below = torch.cat([none, (w.cumsum(0)[:-1] * gaps).cumsum(0)])
        from_above = w.flip(0).cumsum(0)[:-1] * gaps.flip(0)
        above = torch.cat([none, from_above.cumsum(0)]).flip(0)
        best = (below.sqrt() + above.sqrt()).argmin(0, keepdim=True)
        loc, below, above = (t.gather(0, best).squeeze(0) for t in (ordered, below, above))
        if not torch._is_all_true((below > 0) & (above > 0)):
            raise ValueError(
                "data of AsymmetricLaplace.fit have no maximum of the likelihood: it grows as one of the two tails "
                "vanishes at an outermost draw. Fit an Exponential to the distances from it."
            )
        asymmetry = (below / above).sqrt().sqrt()
        return cls(loc, asymmetry * above + below / asymmetry, asymmetry)

    def _quantile(self, log_level: Tensor, log_complement: Tensor) -> Tensor:
        log_below = -torch.log1p(self.asymmetry.reciprocal().square())
        left = log_level < log_below
        below = self.asymmetry * torch.where(left, log_level - log_below, 0)
        above = -(log_complement + torch.log1p(self.asymmetry.square())) / self.asymmetry
        return self.loc + self.scale * torch.where(left, below, above)

    def _landmarks(self) -> Tensor:
        return torch.cat([super()._landmarks(), self.loc.unsqueeze(0)])

    def _standardised(self, value: Tensor, *, support: bool = False) -> Tensor:
        return (self._checked_value(value, support=support) - self.loc) / self.scale


# In both, each branch sees only its own half, so that the masked one cannot overflow into the gradient.


def _cdf(z: Tensor, asymmetry: Tensor) -> Tensor:
    square = asymmetry.square()
    below = (z.clamp(max=0) / asymmetry).exp() / (1 + 1 / square)
    above = (square - torch.expm1(-asymmetry * z.clamp(min=0))) / (1 + square)
    return torch.where(z < 0, below, above)


def _log_cdf(z: Tensor, asymmetry: Tensor) -> Tensor:
    below = z.clamp(max=0) / asymmetry - torch.log1p(asymmetry.reciprocal().square())
    remaining = (-asymmetry * z.clamp(min=0)).exp() / (1 + asymmetry.square())
    near_one = torch.log1p(-remaining.clamp(max=0.5))
    return torch.where(z < 0, below, torch.where(remaining < 0.5, near_one, _cdf(z.clamp(min=0), asymmetry).log()))


@register_kl(AsymmetricLaplace, AsymmetricLaplace)
def _kl_asymmetric_laplace(p: AsymmetricLaplace, q: AsymmetricLaplace) -> Tensor:
    # The mean distances of X above and below q.loc, in units of p.scale.
    z = (q.loc - p.loc) / p.scale
    upper, lower = _mean_excess(z, p.asymmetry), _mean_excess(-z, 1 / p.asymmetry)
    distance = p.scale / q.scale * (q.asymmetry * upper + lower / q.asymmetry)
    spread = (q.asymmetry + 1 / q.asymmetry).log() - (p.asymmetry + 1 / p.asymmetry).log()
    return distance - 1 + (q.scale / p.scale).log() + spread


def _mean_excess(z: Tensor, asymmetry: Tensor) -> Tensor:
    """E[max(Z - z, 0)] of the standard distribution."""
    square = asymmetry.square()
    above = (-asymmetry * z.clamp(min=0)).exp() / (asymmetry * (1 + square))
    lower = asymmetry * (z.clamp(max=0) / asymmetry).exp() / (1 + 1 / square)
    return torch.where(z > 0, above, lower - z.clamp(max=0) + 1 / asymmetry - asymmetry)
