"""The generalised extreme value distribution: what maxima of many variables tend to."""

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.endpoints import between
from posterity.distributions.power_landmarks import power_landmarks
from posterity.kernels import Source, log1mexp
from posterity.kernels.box_cox import expm1_over, log1p_over
from posterity.kernels.elementwise import elementwise
from posterity.kernels.lgamma1p import lgamma1p_bend, lgamma1p_over

_EULER = 0.57721566490153286


class GeneralizedExtremeValue(Distribution):
    r"""The distribution of extreme values, with cdf $\exp(-(1 + \xi z)^{-1/\xi})$ where $z = (x - loc) / scale$.

    The concentration is $\xi$ with the sign of Coles and of TensorFlow Probability: positive for the heavy upper tail
    of Fréchet, negative for the upper end of a reversed Weibull; scipy's `c` is $-\xi$. At 0, where all formulas are
    smooth, it is the Gumbel distribution.

    Args:
        loc: Any shape that broadcasts against the others.
        scale: Positive.
        concentration: Real. The support ends at `loc - scale / concentration`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Coles (2001), An Introduction to Statistical Modeling of Extreme Values, equation 3.2.

    Example:
        >>> d = GeneralizedExtremeValue(0.0, 1.0, torch.tensor([-0.5, 0.0, 0.5]))
        >>> d.icdf(0.99)
        tensor([ 1.7995,  4.6002, 17.9499])
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True

    loc: Tensor
    scale: Tensor
    concentration: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise({"loc": loc, "scale": scale, "concentration": concentration}, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """Above `loc - scale / concentration` for positive concentrations, below it for negative ones."""
        return between(
            torch.where(self.concentration > 0, self._end(), -torch.inf),
            torch.where(self.concentration < 0, self._end(), torch.inf),
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`; -inf at an end without density."""
        outside, y = self._reduced(value, support=True)
        # Where exp(-y) overflows, at the lower end.
        outside = outside | y.isneginf()
        y = torch.where(outside, 0, y)
        inner = -(1 + self.concentration) * y - (-y).exp() - self.scale.log()
        return torch.where(outside, -torch.inf, inner)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self.log_cdf(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return -self._log_odds(value)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return -torch.expm1(-self._log_odds(value))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return log1mexp(self._log_odds(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        return self._at(-(-level.log()).log())

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws by the inverse cdf of uniform noise, of shape `sample_shape + batch_shape`; finite."""
        # Of 1 - u: the noise is finest near 0, and the right tail is the long one.
        draws = self._at(-(-torch.log1p(-self._open_uniform(sample_shape, generator))).log())
        largest = torch.finfo(draws.dtype).max
        return draws.clamp(-largest, largest)

    @property
    def mean(self) -> Tensor:
        """Infinite for concentrations from 1 on."""
        power = -self.concentration.clamp(max=_BELOW_1)
        growth = expm1_over(power, lgamma1p_over(power))
        return torch.where(self.concentration < 1, self.loc - self.scale * growth, torch.inf)

    @property
    def variance(self) -> Tensor:
        """Infinite for concentrations from 1/2 on."""
        power = -self.concentration.clamp(max=0.5 * _BELOW_1)
        square = (2 * power * lgamma1p_over(power)).exp() * expm1_over(power.square(), lgamma1p_bend(power))
        return torch.where(self.concentration < 0.5, self.scale.square() * square, torch.inf)

    @property
    def mode(self) -> Tensor:
        """The upper end of the support for concentrations up to -1."""
        inner = self.concentration.clamp(min=-_BELOW_1)
        central = self.loc + self.scale * expm1_over(inner, -torch.log1p(inner))
        return torch.where(self.concentration > -1, central, self._end())

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + _EULER * (1 + self.concentration) + 1

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        refuse_constant("GeneralizedExtremeValue", data, weights)
        mean = (weights * data).sum(0)
        scale = (weights * (data - mean).square()).sum(0).sqrt() * 0.78
        # The Gumbel distribution with these moments: its support holds all data.
        return {"loc": mean - _EULER * scale, "scale": scale, "concentration": torch.zeros_like(mean)}

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _at(self, y: Tensor) -> Tensor:
        """The value with a given y = -log(-log cdf)."""
        inside = self.loc + self.scale * expm1_over(self.concentration, y.clamp(-_FAR, _FAR))
        infinite = y.isinf()
        reached = torch.where(y > 0, self.concentration < 0, self.concentration > 0)
        end = torch.where(reached, self._end(), y)
        return torch.where(infinite, end, inside)

    def _end(self) -> Tensor:
        return self.loc - self.scale / torch.where(self.concentration == 0, 1, self.concentration)

    def _log_odds(self, value: Tensor) -> Tensor:
        """-log cdf, from 0 above the support to infinity below it."""
        outside, y = self._reduced(value)
        below = self._checked_value(value) < self.loc
        return torch.where(outside, torch.where(below, torch.inf, 0), (-y).exp())

    def _reduced(self, value: Tensor, *, support: bool = False) -> tuple[Tensor, Tensor]:
        """Whether the value lies outside the support, and y = log(1 + concentration z) / concentration inside it."""
        z = (self._checked_value(value, support=support) - self.loc) / self.scale
        w = self.concentration * z
        outside, far = w <= -1, w > 1
        near = log1p_over(self.concentration, torch.where(outside | far, 0, z))
        tail = _log1p_over(torch.where(far, self.concentration, 1), torch.where(far, z, 1))
        return outside, torch.where(far, tail, near)


@elementwise(
    lambda power, x, value: (x / (1 + power * x) - value) / power,
    lambda power, x, value: 1 / (1 + power * x),
)
def _log1p_over(power: Tensor, x: Tensor) -> Tensor:
    """`log1p_over` away from a power of 0, with derivatives that do not square x, which may overflow."""
    return torch.log1p(power * x) / power


_BELOW_1 = 1 - 1e-6
# The logarithm of what overflows in float64, over the concentration; keeps 0 * inf out of the gradients.
_FAR = 1e30
