"""The half-Cauchy distribution: the distance of a Cauchy variable from its median."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.cauchy import cauchy_tail, root_stretch
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import scaled
from posterity.distributions.order_statistics import weighted_quantile
from posterity.distributions.tail_noise import cauchy_noise
from posterity.kernels import Source


class HalfCauchy(Distribution):
    r"""The half-Cauchy distribution, with density $2 / (\pi scale (1 + (x / scale)^2))$ on $x \ge 0$.

    Its mean and variance are infinite.

    Args:
        scale: The median, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `scale` is neither a number nor a real tensor.
        ValueError: It is not positive.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 16; as a prior,
    Gelman, Prior Distributions for Variance Parameters, 2006, https://doi.org/10.1214/06-BA117A

    Example:
        >>> d = HalfCauchy(2.0)
        >>> d.median, d.mean, d.survival_function(1e10)
        (tensor(2.), tensor(inf), tensor(1.2732e-10))
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.nonnegative
    has_rsample = True

    scale: Tensor

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return self._inside_only(value, root_stretch(value, self.scale).log().mul_(-2).add_(math.log(2 / math.pi)))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return torch.atan(self._standardised(value)) * (2 / math.pi)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return 2 * cauchy_tail(self._standardised(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        below = torch.tan(0.5 * math.pi * level.clamp(max=0.5))
        above = 1 / torch.tan(0.5 * math.pi * (1 - level.clamp(min=0.5)))
        return self.scale * torch.where(level < 0.5, below, above)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `scale * noise` that reach far into the tail, of shape `sample_shape + batch_shape`."""
        return scaled(cauchy_noise(self, sample_shape, generator).abs_(), self.scale)

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return torch.full_like(self.scale, torch.inf)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return torch.full_like(self.scale, torch.inf)

    @property
    def mode(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.scale)

    @property
    def median(self) -> Tensor:
        """`scale`."""
        return self.scale

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + math.log(2 * math.pi)

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        median = weighted_quantile(data, weights, 0.5)
        return {"scale": torch.where(median > 0, median, 1)}

    def _landmarks(self) -> Tensor:
        # The tail changes over all orders of magnitude.
        steps = torch.linspace(0.5, 26, 25, dtype=self.scale.dtype, device=self.scale.device)
        return self.scale * torch.sinh(steps).reshape((-1,) + (1,) * self.scale.dim())

    def _standardised(self, value: Tensor) -> Tensor:
        return self._checked_value(value).clamp(min=0) / self.scale


@register_kl(HalfCauchy, HalfCauchy)
def _kl_half_cauchy_half_cauchy(p: HalfCauchy, q: HalfCauchy) -> Tensor:
    # That of the whole distributions around 0: log of (p.scale + q.scale)^2 / (4 p.scale q.scale).
    return torch.log1p(torch.sinh(0.5 * (p.scale / q.scale).log()).square())
