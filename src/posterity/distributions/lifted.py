"""Torch's own distributions taken in, so that users may hand them to whatever this floor builds."""

import importlib
import inspect
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.independent import Independent
from posterity.kernels import Source


def lift(distribution: torch.distributions.Distribution) -> Distribution:
    """The same distribution as one of this library's: its own class where there is one, else a `Lifted`.

    Raises:
        TypeError: It is no distribution.

    Example:
        >>> lift(torch.distributions.Normal(0.0, 1.0))
        Normal(loc: 0.0, scale: 1.0)
        >>> lift(torch.distributions.Gamma(2.0, 1.0)).mean
        tensor(2.)
    """
    if isinstance(distribution, Distribution):
        return distribution
    if not isinstance(distribution, torch.distributions.Distribution):
        raise TypeError(f"a torch.distributions.Distribution is needed, but this is a {type(distribution).__name__}.")
    if type(distribution) is torch.distributions.Independent:
        return Independent(lift(distribution.base_dist), distribution.reinterpreted_batch_ndims)
    # The package, not its modules one by one: what it hands on is what has been written.
    ours = getattr(importlib.import_module("posterity.distributions"), type(distribution).__name__, None)
    if ours is not None and type(distribution) is getattr(torch.distributions, type(distribution).__name__, None):
        arguments = _arguments(ours, distribution)
        if arguments is not None:
            return cast(Distribution, ours(**arguments))
    return Lifted(distribution)


def _arguments(family: type[Distribution], distribution: torch.distributions.Distribution) -> dict[str, Any] | None:
    """What the constructor of `family` takes, from torch's attributes of the same names; None where one lacks."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(family).parameters.items():
        if name == "validate_args" or name in _OTHER_FORMS or (name in _PAIR and name != _given(distribution)):
            continue
        name_there = _OTHER_NAMES.get(name, name)
        if hasattr(distribution, name_there):
            found[name] = getattr(distribution, name_there)
        elif parameter.default is parameter.empty:
            return None
    return found


# Of these, one is given; scale_tril torch has always.
_PAIR = ("probs", "logits")
_OTHER_FORMS = ("covariance_matrix", "precision_matrix")
_OTHER_NAMES = {"base_distribution": "base_dist"}


def _given(distribution: torch.distributions.Distribution) -> str:
    """Which of `probs` and `logits` the user gave: torch's conversion of the other is clamped."""
    given = getattr(distribution, "_param", None)
    return "probs" if given is not None and distribution.__dict__.get("probs") is given else "logits"


class Lifted(Distribution):
    """A distribution of torch's that this library has no class for, with what torch knows of it.

    Args:
        base_distribution: Any of torch's distributions.

    Example:
        >>> d = Lifted(torch.distributions.Exponential(1.0))
        >>> d.survival_function(torch.tensor(1.0))
        tensor(0.3679)
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # declared by torch's base

    def __init__(self, base_distribution: torch.distributions.Distribution) -> None:
        self.base_dist = base_distribution
        Distribution.__init__(self, base_distribution.batch_shape, base_distribution.event_shape)

    def __repr__(self) -> str:
        return f"Lifted({self.base_dist!r})"

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new.base_dist = self.base_dist.expand(batch_shape)
        new._batch_shape = batch_shape
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Where the density is positive."""
        return cast(constraints.Constraint, self.base_dist.support)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether torch has reparameterised draws."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether torch lists the values."""
        return self.base_dist.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, `[num_values, *batch_shape, *event_shape]`."""
        return self.base_dist.enumerate_support(expand)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, or mass, at `value`, of shape `sample_shape + batch_shape`."""
        return self.base_dist.log_prob(self._checked_value(value, support=True))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), if torch has it."""
        self._require("cdf")
        return self.base_dist.cdf(self._checked_value(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value`, if torch has it."""
        self._require("icdf")
        return self.base_dist.icdf(self._checked_level(value))

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.base_dist.variance

    @property
    def mode(self) -> Tensor:
        """The mode."""
        return self.base_dist.mode

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.base_dist.entropy()

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws from torch's global generator, of shape `sample_shape + batch_shape + event_shape`."""
        self._refuse_generator(generator)
        return self.base_dist.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters, if torch has them."""
        self._refuse_generator(generator)
        return self.base_dist.rsample(torch.Size(sample_shape))

    def _like(self) -> Tensor:
        inner = self.base_dist
        while not inner.arg_constraints:
            inner = inner.base_dist  # type: ignore[attr-defined]  # transformed and independent ones
        return cast(Tensor, getattr(inner, next(iter(inner.arg_constraints))))

    def _require(self, what: str) -> None:
        if getattr(type(self.base_dist), what) is getattr(torch.distributions.Distribution, what):
            raise NotImplementedError(f"torch.distributions.{type(self.base_dist).__name__} has no {what}.")

    def _refuse_generator(self, generator: Source) -> None:
        if generator is not None:
            raise NotImplementedError(
                f"the sampler of torch.distributions.{type(self.base_dist).__name__} takes no generator: "
                "leave generator=None and seed torch's global one."
            )
