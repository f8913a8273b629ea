"""All mass at one point: what a parameter is that is not random."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import log_prob_anywhere, register_kl
from posterity.distributions.parameters import broadcast_shapes
from posterity.kernels import Source


class Delta(Distribution):
    """The distribution of a constant. Its density is relative to the point mass there, so that it stays finite.

    Args:
        value: The point, `[*batch_shape, *event_shape]`.
        log_density: Log density at the point, `[*batch_shape]`; other than 0 in an unnormalised measure, such as the
            term of a change of variables.
        event_dim: How many of the last dimensions of `value` are one event.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `value` is neither a number nor a real tensor.
        ValueError: `value` has fewer than `event_dim` dimensions, or `log_density` does not broadcast against its
            batch.

    Example:
        >>> d = Delta(torch.tensor(2.0))
        >>> d.sample((2,)), d.log_prob(torch.tensor([1.0, 2.0]))
        (tensor([2., 2.]), tensor([-inf, 0.]))
    """

    arg_constraints = {"value": constraints.dependent, "log_density": constraints.real}  # noqa: RUF012  # torch's base
    has_rsample = True
    has_enumerate_support = True

    value: Tensor
    log_density: Tensor

    def __init__(
        self,
        value: Tensor | float,
        log_density: Tensor | float = 0.0,
        event_dim: int = 0,
        validate_args: bool | None = None,
    ) -> None:
        if isinstance(value, float | int):
            value = torch.tensor(float(value))
        if not isinstance(value, Tensor) or value.is_complex():
            raise TypeError(f"value of Delta must be a number or a real tensor, not {type(value).__name__}.")
        if not 0 <= event_dim <= value.dim():
            raise ValueError(
                f"event_dim of Delta must lie between 0 and {value.dim()}, the rank of value, not {event_dim}."
            )
        dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        density = torch.as_tensor(log_density, dtype=dtype, device=value.device)
        batch, event = value.shape[: value.dim() - event_dim], value.shape[value.dim() - event_dim :]
        shape = broadcast_shapes("batch shapes of the parameters of Delta", value=batch, log_density=density.shape)
        self.value, self.log_density = value.expand(shape + event), density.expand(shape)
        torch.distributions.Distribution.__init__(self, shape, event, validate_args=False)
        self._validate_values = validate_args
        self._check_values("log_density", self.log_density, constraints.real)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        """The whole space, in which the point may lie anywhere."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new.value = self.value.expand(batch_shape + self.event_shape)
        new.log_density = self.log_density.expand(batch_shape)
        new._batch_shape = batch_shape
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """`log_density` at the point and minus infinity elsewhere, of shape `sample_shape + batch_shape`."""
        hit = self._checked_value(value, support=True) == self.value
        hit = hit.flatten(-len(self.event_shape)).all(-1) if self.event_shape else hit
        return torch.where(hit, self.log_density, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """1 from the point on, 0 before it."""
        self._refuse_vectors("cdf")
        return (self._checked_value(value) >= self.value).to(self.log_density.dtype)

    def survival_function(self, value: Tensor) -> Tensor:
        """0 from the point on, 1 before it."""
        self._refuse_vectors("survival_function")
        return (self._checked_value(value) < self.value).to(self.log_density.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """The point, whatever the level."""
        self._refuse_vectors("icdf")
        level = self._checked_level(value)
        return self.value.expand(torch.broadcast_shapes(level.shape, self.batch_shape))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """The point, of shape `sample_shape + batch_shape + event_shape`; gradients reach it."""
        return self.value.expand(self._extended_shape(sample_shape))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The point, `[1, *batch_shape, *event_shape]`."""
        return self.value.unsqueeze(0)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.value)

    @property
    def mode(self) -> Tensor:
        """The point."""
        return self.value

    def entropy(self) -> Tensor:
        """`-log_density`: 0 unless that was given."""
        return -self.log_density

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """The point at which all data lie.

        Args:
            data: Along dimension 0, all alike.
            weights: How much each draw counts; those of weight 0 are left out.

        Raises:
            ValueError: The data differ: the likelihood is then zero everywhere.
        """
        data, weights = fit_data("Delta", data, weights)
        seen = (weights > 0).expand(data.shape)
        low, high = torch.where(seen, data, torch.inf).amin(0), torch.where(seen, data, -torch.inf).amax(0)
        if bool((low != high).any()):
            raise ValueError("data of Delta.fit must all be one value: no point has a likelihood for several.")
        return cls(low)

    def _like(self) -> Tensor:
        return self.log_density


@register_kl(Delta, torch.distributions.Distribution)
def _kl_delta_any(p: Delta, q: torch.distributions.Distribution) -> Tensor:
    return p.log_density - log_prob_anywhere(q, p.value)
