"""The face that every distribution of the library shows: torch's own, completed.

A leaf lists `Distribution` before torch's class of the same name and declares each parameter once, in
`arg_constraints`: a constraint carries its event rank, and `expand` and validation follow from the two.
"""

from numbers import Number
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.kernels import Source
from posterity.runtime import validation_enabled


class Distribution(torch.distributions.Distribution):
    """A `torch.distributions.Distribution` with every statistic, accurate tails, and generators.

    What has a closed form is overridden in the leaf. What is mathematically undefined for a distribution
    raises `NotImplementedError` with the reason.

    Args:
        batch_shape: The shape over which parameters are batched.
        event_shape: The shape of one draw.
        validate_args: Whether values (parameters, draws) are checked; None follows
            `posterity.runtime.validation_enabled()`. Shapes and types are checked always.

    Raises:
        ValueError: A parameter violates its constraint.

    Example:
        >>> from posterity.distributions import Normal
        >>> d = Normal(torch.zeros(3), 1.0)
        >>> isinstance(d, torch.distributions.Normal), d.to_event().log_prob(torch.zeros(3)).shape
        (True, torch.Size([]))
    """

    arg_constraints: dict[str, constraints.Constraint]

    def __init__(
        self,
        batch_shape: _size = (),
        event_shape: _size = (),
        validate_args: bool | None = None,
    ) -> None:
        # Named, not `super()`: a leaf's next class is torch's leaf, whose constructor takes parameters.
        torch.distributions.Distribution.__init__(
            self, torch.Size(batch_shape), torch.Size(event_shape), validate_args=False
        )
        self._validate_values = validate_args
        for name, constraint in self.arg_constraints.items():
            if name in self.__dict__:
                self._check_values(name, self.__dict__[name], constraint)

    # Densities and tails.

    def prob(self, value: Tensor) -> Tensor:
        """Density, or mass, at `value`: `exp(log_prob(value))`, of shape `sample_shape + batch_shape`."""
        return self.log_prob(value).exp()

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), of shape `sample_shape + batch_shape`."""
        return self.cdf(value).log()

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value), of shape `sample_shape + batch_shape`."""
        self._refuse_vectors("survival_function")
        return 1 - self.cdf(value)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), of shape `sample_shape + batch_shape`."""
        return self.survival_function(value).log()

    @property
    def median(self) -> Tensor:
        """A value with half the probability on either side, of shape `batch_shape` (scalar events)."""
        self._refuse_vectors("median")
        return self.icdf(self._level(0.5))

    # Comparisons.

    def kl_divergence(self, other: torch.distributions.Distribution) -> Tensor:
        """KL(self || other) in nats, of shape `batch_shape`; see `posterity.distributions.kl_divergence`."""
        from posterity.distributions.kl import kl_divergence  # it integrates over this class

        return kl_divergence(self, other)

    def cross_entropy(self, other: torch.distributions.Distribution) -> Tensor:
        """-E[log other(X)] for X from self, in nats: entropy plus KL(self || other)."""
        return self.entropy() + self.kl_divergence(other)

    # Draws.

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`, without gradients.

        Args:
            sample_shape: The shape of independent draws for each element of the batch.
            generator: Where the random numbers come from, a `torch.Generator` or a `posterity.kernels.Key`;
                None is torch's global generator, which is not touched otherwise.
        """
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters, shaped and randomised as in `sample`."""
        raise NotImplementedError(
            f"{type(self).__name__} has no reparameterised draws: its draws are not a smooth function of its "
            "parameters. Use sample(), and a score-function estimator where a gradient is needed."
        )

    # Other distributions made from this one.

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied.

        Raises:
            ValueError: `batch_shape` is not one that the present batch broadcasts to.
        """
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        for name, constraint in self.arg_constraints.items():
            if name in self.__dict__:
                parameter = self.__dict__[name]
                event = parameter.shape[parameter.dim() - constraint.event_dim :]
                new.__dict__[name] = parameter.expand(batch_shape + event)
        new._batch_shape = batch_shape
        return new

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> "Distribution":
        """The rightmost batch dimensions (all of them by default) made part of one event.

        Args:
            reinterpreted_batch_ndims: How many; 0 gives this distribution itself.

        Raises:
            ValueError: There are fewer batch dimensions than that, or the number is negative.
        """
        from posterity.distributions.independent import Independent  # it derives from this class

        ndims = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return self if ndims == 0 else Independent(self, ndims)

    @classmethod
    def fit(cls, data: Tensor) -> Self:
        """The distribution of this family under which `data` is most likely.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
        """
        raise NotImplementedError(f"{cls.__name__}.fit has no maximum-likelihood estimate in closed form.")

    # For the leaves.

    def _landmarks(self) -> Tensor:
        """Points that cut the line where this scalar distribution changes, `[num_points, *batch_shape]`.

        Quadrature between neighbours sees a smooth function on the scale of the gap.
        """
        like = self._like()
        z = torch.linspace(-7.0, 7.0, 13, dtype=like.dtype, device=like.device)
        levels = torch.special.ndtr(z)
        eps = torch.finfo(like.dtype).eps
        levels = torch.cat([levels[:7].clamp(min=eps**2), levels[7:].clamp(max=1 - 2 * eps)])
        return self.icdf(levels.reshape((-1,) + (1,) * len(self.batch_shape))).expand((-1, *self.batch_shape))

    def _refuse_vectors(self, what: str) -> None:
        if self.event_shape:
            raise NotImplementedError(
                f"{type(self).__name__}.{what} is undefined for events of shape {tuple(self.event_shape)}: "
                "vectors have no order. Ask the distributions of the entries."
            )

    def _checked_value(self, value: Tensor, *, support: bool = False) -> Tensor:
        """`value` as a tensor whose shape fits, and, if asked, whose entries lie in the support."""
        if isinstance(value, Number):
            value = self._level(cast(float, value))
        elif not isinstance(value, Tensor):
            raise TypeError(f"value of {type(self).__name__} must be a tensor or a number, not {type(value).__name__}.")
        rank = len(self.event_shape)
        fits = value.dim() >= rank and value.shape[value.dim() - rank :] == self.event_shape
        batch = value.shape[: value.dim() - rank]
        if not fits or not _broadcastable(batch, self.batch_shape):
            raise ValueError(
                f"value of shape {tuple(value.shape)} does not fit {type(self).__name__} with batch_shape "
                f"{tuple(self.batch_shape)} and event_shape {tuple(self.event_shape)}: it must end with the "
                "event_shape and broadcast against the batch_shape before it."
            )
        if support:
            self._check_values("value", value, cast(constraints.Constraint, self.support))
        return value

    def _checked_level(self, level: Tensor) -> Tensor:
        """`level` as a tensor of probabilities in [0, 1] that broadcasts against the batch."""
        level = self._checked_value(level)
        self._check_values("value of icdf", level, constraints.unit_interval)
        return level

    def _level(self, level: float) -> Tensor:
        """A probability as a tensor beside the parameters."""
        like = self._like()
        return torch.tensor(level, dtype=like.dtype, device=like.device)

    def _like(self) -> Tensor:
        """A tensor of this distribution's floating dtype and device."""
        return cast(Tensor, next(self.__dict__[name] for name in self.arg_constraints if name in self.__dict__))

    def _check_values(self, name: str, value: Tensor, constraint: constraints.Constraint) -> None:
        validates = self._validate_values
        if validates is None:
            validates = validation_enabled()
        if not validates or torch.compiler.is_compiling() or value.device.type == "meta":
            return
        valid: Tensor = constraint.check(value)
        # The one reduction to a Python bool that torch.vmap lets through (torch's distributions use it too).
        if torch._is_all_true(valid):
            return
        first = (~valid).reshape(-1).to(torch.int64).argmax().reshape(1)
        offender = value.reshape(valid.numel(), -1).index_select(0, first).squeeze()
        raise ValueError(
            f"{name} of {type(self).__name__} must satisfy {constraint!r}, but this tensor of shape "
            f"{tuple(value.shape)} holds {offender!s}. Correct the value, or switch value checks off with "
            "posterity.runtime.set_validation(False)."
        )

    def _checked_expansion(self, batch_shape: _size) -> torch.Size:
        batch_shape = torch.Size(batch_shape)
        if (
            len(batch_shape) < len(self.batch_shape)
            or not _broadcastable(self.batch_shape, batch_shape)
            or any(new == 1 != old for new, old in zip(reversed(batch_shape), reversed(self.batch_shape), strict=False))
        ):
            raise ValueError(
                f"batch_shape {tuple(self.batch_shape)} of {type(self).__name__} cannot be expanded to "
                f"{tuple(batch_shape)}: only dimensions of size 1 and new ones on the left can grow."
            )
        return batch_shape

    def _bare_copy(self, instance: Any = None) -> Self:
        """A shallow copy, made without the constructor, so that a subclass keeps its further attributes."""
        new = object.__new__(type(self)) if instance is None else instance
        new.__dict__.update(self.__dict__)
        return cast(Self, new)


def broadcast_parameters(owner: str, **parameters: Tensor | float) -> tuple[Tensor, ...]:
    """Scalar parameters as tensors of one shape, one floating dtype and one device.

    Numbers follow the tensors beside them; without any tensor they take torch's defaults. Integers become
    floating.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or tensors live on different devices.

    Example:
        >>> loc, scale = broadcast_parameters("Normal", loc=torch.zeros(2, 1), scale=torch.ones(3))
        >>> loc.shape, scale.shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    tensors = [p for p in parameters.values() if isinstance(p, Tensor)]
    for name, p in parameters.items():
        if not isinstance(p, Tensor | Number) or (isinstance(p, Tensor) and p.is_complex()):
            raise TypeError(
                f"{name} of {owner} must be a number or a real tensor, not "
                f"{p.dtype if isinstance(p, Tensor) else type(p).__name__}."
            )
    if len({t.device for t in tensors}) > 1:
        devices = ", ".join(f"{name} on {p.device}" for name, p in parameters.items() if isinstance(p, Tensor))
        raise ValueError(f"parameters of {owner} must live on one device, but got {devices}.")
    dtype = torch.get_default_dtype()
    floating = [t.dtype for t in tensors if t.is_floating_point()]
    if floating:
        dtype = floating[0]
        for other in floating[1:]:
            dtype = torch.promote_types(dtype, other)
    device = tensors[0].device if tensors else None
    values = [
        p.to(dtype) if isinstance(p, Tensor) else torch.tensor(p, dtype=dtype, device=device)
        for p in parameters.values()
    ]
    shape = broadcast_shapes(
        f"parameters of {owner}", **{name: v.shape for name, v in zip(parameters, values, strict=True)}
    )
    return tuple(v.expand(shape) for v in values)


def broadcast_shapes(what: str, **shapes: torch.Size) -> torch.Size:
    """The shape that all of `shapes` broadcast to.

    Raises:
        ValueError: There is none; the message begins with `what` and lists the shapes by name.

    Example:
        >>> broadcast_shapes("weights", left=torch.Size([3, 1]), right=torch.Size([2]))
        torch.Size([3, 2])
    """
    first, *others = shapes.values()
    result = first
    for other in others:
        if not _broadcastable(result, other):
            listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise ValueError(f"{what} must broadcast against each other, but have shapes: {listed}.")
        longer, shorter = (result, other) if len(result) >= len(other) else (other, result)
        ahead = len(longer) - len(shorter)
        # The other size where one is 1: a size of 0 must survive too.
        sizes = [j if i == 1 else i for i, j in zip(longer[ahead:], shorter, strict=True)]
        result = torch.Size([*longer[:ahead], *sizes])
    return result


def fit_data(owner: str, data: Tensor) -> Tensor:
    """`data` as a floating tensor of draws along dimension 0, checked for its shape and for NaN.

    Raises:
        TypeError: It is no real tensor.
        ValueError: It has no draws, or holds NaN or infinities.

    Example:
        >>> fit_data("Normal", torch.tensor([1, 2])).dtype
        torch.float32
    """
    if not isinstance(data, Tensor) or data.is_complex():
        raise TypeError(f"data of {owner}.fit must be a real tensor, not {type(data).__name__}.")
    if data.dim() == 0 or data.shape[0] == 0:
        raise ValueError(
            f"data of {owner}.fit must hold draws along dimension 0, but its shape is {tuple(data.shape)}."
        )
    data = data if data.is_floating_point() else data.to(torch.get_default_dtype())
    if validation_enabled() and not torch._is_all_true(data.isfinite()):
        raise ValueError(f"data of {owner}.fit must be finite, but holds NaN or infinities.")
    return data


def _broadcastable(a: torch.Size, b: torch.Size) -> bool:
    return all(i == j or i == 1 or j == 1 for i, j in zip(reversed(a), reversed(b), strict=False))
