"""The uniform distribution over consecutive integers."""

from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.integers import integer
from posterity.distributions.kl import register_kl
from posterity.kernels import Source
from posterity.kernels.samplers.noise import noise, settle


class DiscreteUniform(Distribution):
    """Equal mass on the integers low, ..., high.

    Args:
        low: The least value, a whole number.
        high: The greatest value, a whole number of at least `low`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, a parameter is not whole, or `high` lies below `low`.

    Example:
        >>> die = DiscreteUniform(1, 6)
        >>> die.mean, die.variance, die.cdf(2.0)
        (tensor(3.5000), tensor(2.9167), tensor(0.3333))
    """

    arg_constraints = {"low": integer, "high": integer}  # noqa: RUF012  # declared by torch's base

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"low": low, "high": high}, validate_args=validate_args)
        self._check_values("high", self.high, constraints.greater_than_eq(self.low))

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The integers from `low` to `high`."""
        return constraints.integer_interval(self.low, self.high)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]  # it depends on the values
        """Whether the support can be listed: it has one size for the whole batch."""
        n = self._size
        return n.numel() > 0 and n.device.type != "meta" and bool((n == n.reshape(-1)[0]).all())

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, `[num_values, *batch_shape]`.

        Raises:
            NotImplementedError: The batch mixes supports of different sizes.
        """
        if not self.has_enumerate_support:
            raise NotImplementedError(
                "DiscreteUniform.enumerate_support needs as many values for each element of the batch, but low and "
                f"high of shape {tuple(self.low.shape)} give different numbers."
            )
        steps = torch.arange(int(self._size.reshape(-1)[0]), dtype=self.low.dtype, device=self.low.device)
        return self.low + steps.reshape((-1,) + (1,) * len(self.batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return self._inside_only(value, 0 * value - self._size.log())

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self._at_most(value) / self._size

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return (self._size - self._at_most(value)) / self._size

    def icdf(self, value: Tensor) -> Tensor:
        """The least value whose cdf reaches the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        with torch.no_grad():
            count = (level * self._size).ceil().clamp(min=1).minimum(self._size)
            # The product's rounding may be one step off, either way.
            count = count + (count / self._size < level).to(count.dtype)
            count = count - ((count > 1) & ((count - 1) / self._size >= level)).to(count.dtype)
            return self.low + (count - 1).minimum(self._size - 1)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Values of shape `sample_shape + batch_shape`."""
        with torch.no_grad():
            level = noise(settle(generator, self.low), self._extended_shape(sample_shape), self.low).uniform()
            return self.low + (level * self._size).floor().minimum(self._size - 1)

    @property
    def mean(self) -> Tensor:
        """`(low + high) / 2`."""
        return 0.5 * self.low + 0.5 * self.high

    @property
    def variance(self) -> Tensor:
        """`((high - low + 1)^2 - 1) / 12`."""
        width = self.high - self.low
        return width * (width + 2) / 12

    @property
    def mode(self) -> Tensor:
        """`low`, the first of values that are equally probable."""
        return self.low

    def entropy(self) -> Tensor:
        """Log of the number of values."""
        return self._size.log()

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the least and the greatest of the data.

        Args:
            data: Whole numbers along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts; those of weight 0 are left out.

        Raises:
            ValueError: A draw is no whole number.

        Example:
            >>> DiscreteUniform.fit(torch.tensor([3.0, 1.0, 6.0])).high
            tensor(6.)
        """
        data, weights = fit_data("DiscreteUniform", data, weights)
        seen = (weights > 0).expand(data.shape)
        low = torch.where(seen, data, torch.inf).amin(0)
        high = torch.where(seen, data, -torch.inf).amax(0)
        cls(low.floor(), high.ceil())._check_values("data", data, integer)
        return cls(low, high)

    @property
    def _size(self) -> Tensor:
        return self.high - self.low + 1

    def _at_most(self, value: Tensor) -> Tensor:
        count = self._checked_value(value).floor() - self.low + 1
        return count.clamp(min=0).minimum(self._size)


@register_kl(DiscreteUniform, DiscreteUniform)
def _kl_discrete_uniform_discrete_uniform(p: DiscreteUniform, q: DiscreteUniform) -> Tensor:
    inside = (p.low >= q.low) & (p.high <= q.high)
    return torch.where(inside, (q._size / p._size).log(), torch.inf)
