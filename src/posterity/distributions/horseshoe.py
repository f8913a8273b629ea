"""The horseshoe distribution: normal with a half-Cauchy scale, a prior that shrinks only small effects."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.kernels import Key, Source, normal
from posterity.kernels.exponential_integral import log_exp1e
from posterity.kernels.horseshoe_tail import horseshoe_tail
from posterity.kernels.incomplete_beta import widened


class Horseshoe(Distribution):
    r"""The horseshoe distribution, of $scale \cdot T Z$ for a standard normal Z and a standard half-Cauchy T.

    Its density $e^{w} E_1(w) / (scale \sqrt{2 \pi^3})$, with $w = x^2 / 2 scale^2$, is infinite at 0, and its tails
    are as heavy as those of a Cauchy distribution.

    Args:
        scale: The global scale, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `scale` is neither a number nor a real tensor.
        ValueError: It is not positive.

    Source: Carvalho, Polson and Scott (2010), The horseshoe estimator for sparse signals, appendix.

    Example:
        >>> d = Horseshoe(1.0)
        >>> d.log_prob(torch.tensor([1e-20, 1.0, 1e20])), d.survival_function(1e6)
        (tensor([  2.4605,  -2.1439, -93.4739]), tensor(2.5397e-07))
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.real
    has_rsample = True

    scale: Tensor

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; infinite at 0."""
        value = self._checked_value(value, support=True)
        # In double precision, in which squares of float32 numbers neither underflow nor overflow.
        z = widened(value / self.scale).abs()
        # Where squares overflow even there, the density falls with them.
        beyond = z.clamp(min=_LARGE).log() - math.log(_LARGE)
        density = log_exp1e(0.5 * z.clamp(max=_LARGE).square()) - 2 * beyond - 0.5 * math.log(2 * math.pi**3)
        return density.to(torch.promote_types(value.dtype, self.scale.dtype)) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self._below(self._checked_value(value) / self.scale)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return self._log_below(self._checked_value(value) / self.scale)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return self._below(-self._checked_value(value) / self.scale)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return self._log_below(-self._checked_value(value) / self.scale)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `scale * tan(pi u / 2) * noise`, of shape `sample_shape + batch_shape`; finite."""
        first, second = generator.split() if isinstance(generator, Key) else (generator, generator)
        # The tangent's complement: the noise u is finest near 0, and there the tail is.
        spread = 1 / (0.5 * math.pi * self._open_uniform(sample_shape, first)).tan()
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=second, dtype=self.scale.dtype, device=self.scale.device)
        largest = torch.finfo(spread.dtype).max
        return (self.scale * (spread * noise)).clamp(-largest, largest)

    @property
    def median(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.scale)

    @property
    def mean(self) -> Tensor:
        """NaN: the tails are too heavy for a mean."""
        return torch.full_like(self.scale, torch.nan)

    @property
    def variance(self) -> Tensor:
        """NaN: there is no mean."""
        return torch.full_like(self.scale, torch.nan)

    @property
    def mode(self) -> Tensor:
        """0, where the density is infinite."""
        return torch.zeros_like(self.scale)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return _ENTROPY + self.scale.log()

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        if not torch._is_all_true(data != 0):
            raise ValueError("data of Horseshoe.fit must not hold 0, where all densities of the family are infinite.")
        # E log |X| is log scale plus that of a normal variable.
        logs = data.abs().clamp(min=torch.finfo(data.dtype).tiny).log()
        return {"scale": ((weights * logs).sum(0) + 0.635).exp()}

    def _landmarks(self) -> Tensor:
        """Powers of ten on both sides, towards the pole at 0 and into the tails."""
        powers = torch.logspace(-14, 8, 45, dtype=self.scale.dtype, device=self.scale.device)
        points = torch.cat([-powers.flip(0), torch.zeros_like(powers[:1]), powers])
        return points.reshape((-1,) + (1,) * len(self.batch_shape)) * self.scale

    def _below(self, z: Tensor) -> Tensor:
        tail = self._tail(z)
        return torch.where(z < 0, tail, 1 - tail)

    def _log_below(self, z: Tensor) -> Tensor:
        tail = self._tail(z)
        return torch.where(z < 0, tail.log(), torch.log1p(-tail))

    def _tail(self, z: Tensor) -> Tensor:
        # Not quite 0: the slope there is infinite.
        return horseshoe_tail(z.abs().clamp(min=torch.finfo(z.dtype).tiny))


_LARGE = 1e150
# Of the standard horseshoe: the integral of its definition, by quadrature in 25 digits.
_ENTROPY = 2.1098718360616477247
