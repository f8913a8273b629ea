"""The generalised Pareto distribution: what excesses over a high threshold tend to."""

import math
from typing import Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.cumulative_hazard import CumulativeHazard
from posterity.distributions.endpoints import between
from posterity.distributions.fitting import fit_data, maximum_likelihood
from posterity.distributions.power_landmarks import power_landmarks
from posterity.kernels import Source
from posterity.kernels.box_cox import expm1_over, log1p_over
from posterity.kernels.reading import lies_within, readable


class GeneralizedPareto(CumulativeHazard, torch.distributions.GeneralizedPareto):
    r"""The distribution with survival function $(1 + \xi z)^{-1/\xi}$ where $z = (x - loc) / scale$.

    The concentration $\xi$ is positive for heavy tails (a Pareto distribution) and negative for a support that ends at
    `loc - scale / concentration`; at 0, where all formulas are smooth, it is an exponential distribution.

    Args:
        loc: Lower end of the support; any shape that broadcasts against the others.
        scale: Positive.
        concentration: Real.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Coles (2001), An Introduction to Statistical Modeling of Extreme Values, equation 4.2.

    Example:
        >>> d = GeneralizedPareto(1.0, 2.0, torch.tensor([-0.5, 0.0, 0.5]))
        >>> d.mean, d.log_survival_function(4.0)
        (tensor([2.3333, 3.0000, 5.0000]), tensor([-2.7726, -1.5000, -1.1192]))
    """

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
        """From `loc`, up to `loc - scale / concentration` for negative concentrations."""
        return between(self.loc, torch.where(self.concentration < 0, self._end(), torch.inf))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value)
        z = (value - self.loc) / self.scale
        if readable(z, self.concentration) and lies_within(self.concentration, 0.0, math.inf) and _has_no_negative(z):
            return -(1 + self.concentration) * log1p_over(self.concentration, z) - self.scale.log()
        self._check_values("value", value, cast(constraints.Constraint, self.support))
        outside = (z < 0) | (self.concentration * z < -1)
        y = log1p_over(self.concentration, self._before_end(z))
        density = -(1 + self.concentration) * y - self.scale.log()
        return torch.where(outside, -torch.inf, density)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        y = -torch.log1p(-level.clamp(max=1 - 0.25 * torch.finfo(level.dtype).eps))
        inside = self.loc + self.scale * expm1_over(self.concentration, torch.where(level < 1, y, 0))
        end = torch.where(self.concentration < 0, self._end(), torch.inf)
        return torch.where(level < 1, inside, end)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws by the inverse survival function of uniform noise, of shape `sample_shape + batch_shape`; finite."""
        y = -self._open_uniform(sample_shape, generator).log()
        draws = self.loc + self.scale * expm1_over(self.concentration, y)
        return draws.clamp(max=torch.finfo(draws.dtype).max)

    @property
    def mean(self) -> Tensor:
        """`loc + scale / (1 - concentration)`, infinite for concentrations from 1 on."""
        return self.loc + self.scale / (1 - self.concentration).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """Infinite for concentrations from 1/2 on."""
        return (self.scale / (1 - self.concentration)).square() / (1 - 2 * self.concentration).clamp(min=0)

    @property
    def mode(self) -> Tensor:
        """`loc`, or the upper end of the support for concentrations below -1."""
        return torch.where(self.concentration < -1, self._end(), self.loc)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() + self.concentration + 1

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: `loc` is the least of the data, the other two are searched for.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws of one batch element are all equal: the likelihood then has no maximum.
            ArithmeticError: The search did not converge: the likelihood has no maximum where the data pile up at
                their greatest value.

        Example:
            >>> GeneralizedPareto.fit(torch.tensor([1.0, 2.0, 4.0, 9.0])).loc
            tensor(1.)
        """
        data, weights = fit_data("GeneralizedPareto", data, weights)
        refuse_constant("GeneralizedPareto", data, weights)
        loc = torch.where(weights > 0, data, torch.inf).amin(0)
        excess = torch.where(weights > 0, data - loc, 0)
        scale = (weights * excess).sum(0)
        start = {"scale": scale, "concentration": torch.zeros_like(scale)}
        found = maximum_likelihood(_Excess, excess, weights, start)
        return cls(loc, found.scale, found.concentration)

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _before_end(self, z: Tensor) -> Tensor:
        """`z` from 0 to where the support ends, a rounding before it."""
        z = z.clamp(min=0)
        last = (1 - torch.finfo(z.dtype).eps) / (-self.concentration).clamp(min=torch.finfo(z.dtype).tiny)
        return torch.where(self.concentration < 0, torch.minimum(z, last), z)

    def _end(self) -> Tensor:
        return self.loc - self.scale / torch.where(self.concentration == 0, 1, self.concentration)

    def _hazard(self, value: Tensor) -> Tensor:
        """-log P(X > value)."""
        value = self._checked_value(value)
        z = (value - self.loc) / self.scale
        beyond = (self.concentration < 0) & (value >= self._end())
        return torch.where(beyond, torch.inf, log1p_over(self.concentration, self._before_end(z)))


def _has_no_negative(z: Tensor) -> bool:
    return lies_within(z, -math.ulp(0.0), torch.finfo(z.dtype).max)


class _Excess(GeneralizedPareto):
    """What is left to be found by a search once `loc` is known."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.real}  # noqa: RUF012  # declared by torch's base

    def __init__(self, scale: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        self.loc = torch.zeros_like(scale)
        self._initialise({"scale": scale, "concentration": concentration}, validate_args=validate_args)


# As its errors call it.
_Excess.__name__ = GeneralizedPareto.__name__
