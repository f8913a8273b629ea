"""The constant density on a support: a flat prior, which need not be a probability distribution."""

from typing import NoReturn, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.supports import tensors_of
from posterity.kernels import Source


class ImproperUniform(Distribution):
    """The density 1 on a support, with respect to the volume there: a prior that says nothing but where values lie.

    Its integral is infinite, or unknown, so that it has a `log_prob` and nothing else: no draws, no moments, no tails.
    With enough data the posterior is a distribution all the same; whether it is, is yours to know. Inference that
    begins at draws of the prior begins at uniform draws on unconstrained space instead, as `init_to_uniform` does.

    Values outside of the support are refused, or have the log density minus infinity where values are not checked;
    where the support is one of whole vectors, such as `simplex`, they are then not looked at.

    Args:
        support: Where values lie, a constraint such as `constraints.positive`.
        batch_shape: The shape of independent values.
        event_shape: The shape of one value: at least as many dimensions as the support's events have.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `support` is no constraint.
        ValueError: `event_shape` has fewer dimensions than the support's events, or the support depends on parameters
            that it does not hold.

    Source: Gelman et al. (2013), "Bayesian Data Analysis", section 2.8.

    Example:
        >>> d = ImproperUniform(constraints.positive, event_shape=(2,))
        >>> d.log_prob(torch.tensor([3.0, 4.0]))
        tensor(0.)
    """

    arg_constraints = {}  # noqa: RUF012  # torch's base

    def __init__(
        self,
        support: constraints.Constraint,
        batch_shape: _size = (),
        event_shape: _size = (),
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(support, constraints.Constraint):
            raise TypeError(
                "support of ImproperUniform must be a constraint, such as torch.distributions.constraints.positive, "
                f"not {type(support).__name__}."
            )
        if constraints.is_dependent(support):
            raise ValueError(
                "support of ImproperUniform must be known, but constraints.dependent stands for one that depends on "
                "parameters; give the constraint with its bounds, such as constraints.greater_than(low)."
            )
        missing = len(event_shape) - support.event_dim
        if missing < 0:
            raise ValueError(
                f"event_shape of ImproperUniform must have at least the {support.event_dim} dimensions of an event of "
                f"{support!r}, but is {tuple(event_shape)}."
            )
        self._support = constraints.independent(support, missing) if missing else support
        self._is_of_vectors = support.event_dim > 0
        super().__init__(batch_shape, event_shape, validate_args)

    def __repr__(self) -> str:
        shapes = f"batch_shape={tuple(self.batch_shape)}, event_shape={tuple(self.event_shape)}"
        return f"ImproperUniform({self._support!r}, {shapes})"

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The support that was given, over the whole event."""
        return self._support

    def log_prob(self, value: Tensor) -> Tensor:
        """0 on the support, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        events = tuple(range(-len(self.event_shape), 0))
        if self._checks_values():
            return value.new_zeros(value.shape[: value.dim() - len(events)])
        is_nan, is_inside = value.isnan(), value.isfinite()
        if events:
            is_nan, is_inside = is_nan.any(events), is_inside.all(events)
        if not self._is_of_vectors:
            is_inside = is_inside & self._support.check(value)
        zeros = torch.zeros_like(is_nan, dtype=value.dtype)
        return torch.where(is_nan, torch.nan, torch.where(is_inside, zeros, -torch.inf))

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> NoReturn:
        """There are no draws."""
        self._refuse("sample")

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> NoReturn:
        """There are no draws."""
        self._refuse("rsample")

    def cdf(self, value: Tensor) -> NoReturn:
        """There are no probabilities."""
        self._refuse("cdf")

    def icdf(self, value: Tensor) -> NoReturn:
        """There are no probabilities."""
        self._refuse("icdf")

    @property
    def mean(self) -> NoReturn:
        """There are no moments."""
        self._refuse("mean")

    @property
    def variance(self) -> NoReturn:
        """There are no moments."""
        self._refuse("variance")

    @property
    def mode(self) -> NoReturn:
        """The density is greatest everywhere."""
        self._refuse("mode")

    def entropy(self) -> NoReturn:
        """There are no expectations."""
        self._refuse("entropy")

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """There is nothing to fit."""
        raise NotImplementedError("ImproperUniform.fit is undefined: it has no parameter that data could tell about.")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__}.{what} is undefined: the density is constant and does not integrate to one, so "
            "that there are neither probabilities nor draws. It serves as a prior of what is inferred; where draws of "
            "the prior are needed, give a proper distribution."
        )

    def _landmarks(self) -> NoReturn:
        self._refuse("expectation")

    def _like(self) -> Tensor:
        bounds = [tensor for tensor in tensors_of(self._support) if tensor.is_floating_point()]
        return bounds[0] if bounds else torch.empty(())
