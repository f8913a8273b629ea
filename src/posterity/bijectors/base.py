"""What every bijector shows: torch's `Transform`, with checked inputs and log-dets that need one side only.

A subclass says `domain` and `codomain` and implements the hooks `_forward`, `_inverse` and `_forward_log_det`.
"""

import copy
import importlib
from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from posterity.bijectors.inclusion import is_within
from posterity.runtime import validation_enabled


class Bijector(Transform):
    """A differentiable map with a differentiable inverse, and the log-determinants of both Jacobians.

    Inputs have the shape `sample_shape + batch_shape + event_shape`; `domain` and `codomain` say how many of the last
    dimensions make an event, and log-dets are summed over these. Parameters carry a batch shape of their own that
    broadcasts against the input's. Called on a tensor it is `forward`; called on a distribution it is the
    distribution of the mapped variable.

    For those who write one:

    - Set `domain` and `codomain`, as class attributes or in the constructor. Call `super().__init__()`. Set
      `_increasing` to 1 or -1 for a monotone scalar map. Override `batch_shape` where parameters are batched.
    - Implement `_forward(x)`, `_inverse(y)` and `_forward_log_det(x)`. Inputs are checked already. Override
      `_inverse_log_det(y)` where a formula in y is more accurate than going through the inverse, and
      `_forward_and_log_det` or `_inverse_and_log_det` where both share work. Log-dets have the shape of the batch.
    - Where the event changes its shape, or only some fit, override `_forward_event_shape` and
      `_inverse_event_shape`; raise `ValueError` for what does not fit.
    - What has trainable parameters lists `nn.Module` after `Bijector`.

    `with_cache()` gives a bijector that remembers its latest pair by identity, as torch's do: the inverse of a value
    just computed, and its log-det, are then exact even where the value rounds to the edge of the codomain. It keeps
    two tensors alive and is for eager use.

    Raises:
        TypeError: (on use) the input is no real floating tensor.
        ValueError: (on use) its shape does not fit, or values lie outside the domain.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Exp
        >>> Exp()(torch.tensor(0.0)), Exp().forward_log_det_jacobian(torch.tensor([1.0, 2.0]))
        (tensor(1.), tensor([1., 2.]))
    """

    bijective = True
    _increasing: int | None = None
    _pair: tuple[Any, Any] = (None, None)

    # What users call.

    def __call__(self, x: Any) -> Any:
        """`forward(x)` of a tensor; of a distribution, that of the mapped variable.

        Raises:
            ValueError: The distribution's support is not within the domain, or it is discrete.
        """
        if isinstance(x, torch.distributions.Distribution):
            return _transformed(self, x)
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """The image of `x`, of shape `forward_shape(x.shape)`."""
        return self._remembered_forward(self._checked_input(x))

    def inverse(self, y: Tensor) -> Tensor:
        """The point that `forward` maps to `y`, of shape `inverse_shape(y.shape)`."""
        return self._remembered_inverse(self._checked_output(y))

    def forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        """Log |det dy/dx| at `x`, summed over the event dimensions; computed from `x`."""
        return self._remembered_forward_log_det(self._checked_input(x))

    def inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        """Log |det dx/dy| at `y`, summed over the event dimensions; computed from `y`."""
        return self._remembered_inverse_log_det(self._checked_output(y))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`forward(x)` and `forward_log_det_jacobian(x)`, for the price of one where they share work."""
        return self._remembered_forward_and_log_det(self._checked_input(x))

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """`inverse(y)` and `inverse_log_det_jacobian(y)`, for the price of one where they share work."""
        return self._remembered_inverse_and_log_det(self._checked_output(y))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log |det dy/dx| where `y = forward(x)` is known already (torch's face); neither is checked."""
        return self._log_det(x, y)

    @property
    def inv(self) -> "Bijector":
        """The inverse, as a bijector; `b.inv.inv is b`."""
        from posterity.bijectors.invert import Invert  # it derives from this class

        return Invert(self)

    @property
    def sign(self) -> Any:
        """1 for an increasing map of the line, -1 for a decreasing one; a tensor where parameters decide.

        Raises:
            NotImplementedError: The map is not one of the line.
        """
        if self._increasing is None:
            raise NotImplementedError(f"{type(self).__name__} has no sign: it is no monotone map of the line.")
        return self._increasing

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of the parameters' batch, which broadcasts against the input's."""
        return torch.Size()

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape.

        Raises:
            ValueError: No input can have this shape.
        """
        return self._mapped_shape("input", shape, self.domain.event_dim, self._forward_event_shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape.

        Raises:
            ValueError: No output can have this shape.
        """
        return self._mapped_shape("output", shape, self.codomain.event_dim, self._inverse_event_shape)

    def with_cache(self, cache_size: int = 1) -> Self:
        """This bijector with another `cache_size`; parameters are shared."""
        if cache_size == self._cache_size:
            return self
        if cache_size not in (0, 1):
            raise ValueError(f"cache_size must be 0 or 1, not {cache_size}.")
        new = copy.copy(self)
        new._cache_size = cache_size
        new._pair = (None, None)
        return new

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other) or isinstance(self, nn.Module):
            return False
        mine, theirs = self._identity(), other._identity()
        return mine.keys() == theirs.keys() and all(_same(value, theirs[name]) for name, value in mine.items())

    def __hash__(self) -> int:
        return object.__hash__(self) if isinstance(self, nn.Module) else hash(type(self))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pair"}

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={_shown(value)}" for name, value in self._identity().items() if not name.startswith("_")
        )
        return f"{type(self).__name__}({arguments})"

    # What subclasses implement.

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no forward map.")

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no inverse.")

    def _forward_log_det(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no log-determinant.")

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._forward_log_det(self._inverse(y))

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        """The forward log-det where both sides are known."""
        return self._forward_log_det(x)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self._forward(x)
        return y, self._log_det(x, y)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._inverse(y), self._inverse_log_det(y)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return shape

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        return shape

    # The machinery between the two.

    def _call(self, x: Tensor) -> Tensor:
        return self._forward(x)

    def _inv_call(self, y: Tensor) -> Tensor:
        return self.inverse(y)

    # Unchecked, and with the cache: what a bijector made of others calls on its parts.

    def _remembered_forward(self, x: Tensor) -> Tensor:
        if not self._cache_size:
            return self._forward(x)
        if x is not self._pair[0]:
            self._pair = (x, self._forward(x))
        y: Tensor = self._pair[1]
        return y

    def _remembered_inverse(self, y: Tensor) -> Tensor:
        if not self._cache_size:
            return self._inverse(y)
        if y is not self._pair[1]:
            self._pair = (self._inverse(y), y)
        x: Tensor = self._pair[0]
        return x

    def _remembered_forward_log_det(self, x: Tensor) -> Tensor:
        if self._cache_size and x is self._pair[0]:
            return self._log_det(*self._pair)
        return self._forward_log_det(x)

    def _remembered_inverse_log_det(self, y: Tensor) -> Tensor:
        if self._cache_size and y is self._pair[1]:
            return -self._log_det(*self._pair)
        return self._inverse_log_det(y)

    def _remembered_forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self._cache_size:
            return self._forward_and_log_det(x)
        y = self._remembered_forward(x)
        return y, self._log_det(x, y)

    def _remembered_inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if not self._cache_size:
            return self._inverse_and_log_det(y)
        x = self._remembered_inverse(y)
        return x, -self._log_det(x, y)

    def _checked_input(self, x: Tensor) -> Tensor:
        self._check_type("input", x)
        self.forward_shape(x.shape)
        self._check_values("input", x, self.domain)
        return x

    def _checked_output(self, y: Tensor) -> Tensor:
        self._check_type("output", y)
        self.inverse_shape(y.shape)
        self._check_values("output", y, self.codomain)
        return y

    def _check_type(self, what: str, value: Tensor) -> None:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{what} of {type(self).__name__} must be a tensor of real floating numbers, not {kind}. "
                "Convert it, for example with torch.as_tensor(value, dtype=torch.get_default_dtype())."
            )

    def _check_values(self, what: str, value: Tensor, constraint: constraints.Constraint) -> None:
        if not validation_enabled() or value.device.type == "meta" or value.numel() == 0:
            return
        valid: Tensor = constraint.check(value)
        # The one reduction to a Python bool that torch.vmap lets through.
        if torch._is_all_true(valid):
            return
        raise ValueError(
            f"{what} of {type(self).__name__} must satisfy {constraint!r}, but this tensor of shape "
            f"{tuple(value.shape)} holds {_offender(value, valid, constraint)}. Correct the value, or switch value "
            "checks off with posterity.runtime.set_validation(False)."
        )

    def _mapped_shape(
        self, what: str, shape: torch.Size, rank: int, map_event: Callable[[torch.Size], torch.Size]
    ) -> torch.Size:
        shape = torch.Size(shape)
        self._check_rank(what, shape, rank)
        cut = len(shape) - rank
        batch = shape[:cut]
        if self.batch_shape:
            try:
                batch = torch.broadcast_shapes(batch, self.batch_shape)
            except RuntimeError:
                raise ValueError(
                    f"{what} of shape {tuple(shape)} does not broadcast against the batch_shape "
                    f"{tuple(self.batch_shape)} of {type(self).__name__}'s parameters."
                ) from None
        return torch.Size(batch + map_event(shape[cut:]))

    def _check_rank(self, what: str, shape: torch.Size, rank: int) -> None:
        if len(shape) < rank:
            raise ValueError(
                f"{what} of {type(self).__name__} has shape {tuple(shape)}, but needs at least {rank} "
                f"dimension{'s' if rank > 1 else ''}."
            )

    def _identity(self) -> dict[str, Any]:
        """What tells this bijector from another of its type: its attributes, but for the cache and supports."""
        hidden = ("_inv", "_cache_size", "_pair", "domain", "codomain")
        return {name: value for name, value in self.__dict__.items() if name not in hidden}


def _transformed(
    bijector: Bijector, distribution: torch.distributions.Distribution
) -> torch.distributions.Distribution:
    support = cast(constraints.Constraint, distribution.support)
    if not is_within(support, bijector.domain):
        raise ValueError(
            f"{type(bijector).__name__} maps {bijector.domain!r}, but {type(distribution).__name__} has the support "
            f"{support!r}, which is not within it. Map the distribution into that domain first."
        )
    if _distribution_of_image is None:
        _find_distribution_of_image()
    assert _distribution_of_image is not None
    return _distribution_of_image(distribution, [bijector])


DistributionOfImage = Callable[[torch.distributions.Distribution, Any], torch.distributions.Distribution]
_distribution_of_image: DistributionOfImage | None = None


def register_distribution_of_image(make: DistributionOfImage) -> None:
    """Says what a bijector called on a distribution makes: `make(distribution, [bijector])`.

    The floor above registers its `TransformedDistribution` when it is imported.
    """
    global _distribution_of_image
    _distribution_of_image = make


def _find_distribution_of_image() -> None:
    # By name: that floor stands on this one.
    try:
        module = importlib.import_module("posterity.distributions.transformed")
    except ModuleNotFoundError:
        register_distribution_of_image(torch.distributions.TransformedDistribution)
    else:
        register_distribution_of_image(module.TransformedDistribution)


def _offender(value: Tensor, valid: Tensor, constraint: constraints.Constraint) -> str:
    first = (~valid).reshape(-1).to(torch.int64).argmax().reshape(1)
    # Bounds may have a batch shape that the value has not.
    value = value.broadcast_to(valid.shape + value.shape[value.dim() - constraint.event_dim :])
    return str(value.reshape(valid.numel(), -1).index_select(0, first).squeeze())


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b))
    return type(a) is type(b) and a == b


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return str(value.item()) if value.numel() == 1 and not value.is_meta else f"tensor of {tuple(value.shape)}"
    return repr(value)
