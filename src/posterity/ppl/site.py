"""What a statement of a program says to the handlers around it, and what a trace keeps of it."""

from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.distributions import Distribution
from posterity.kernels import Source

Kind = Literal["sample", "param", "deterministic", "plate", "module"]


class Frame(NamedTuple):
    """A plate as a site inside it sees it.

    Attributes:
        name: The plate's name.
        dim: The batch dimension that it takes, counted from the right (negative); None for a plate that is looped over.
        size: How many elements it holds here: the subsample's size.
        full_size: How many elements it stands for.
        counter: Which turn of a loop over it this is; 0 for a vectorised plate.
    """

    name: str
    dim: int | None
    size: int
    full_size: int
    counter: int = 0

    @property
    def vectorized(self) -> bool:
        """Whether the plate is a batch dimension, rather than a Python loop."""
        return self.dim is not None


class Turn(NamedTuple):
    """A turn of a Markov chain as a site inside it sees it.

    Attributes:
        own: Which turn it is; no other turn, of any chain, is called so.
        visible: The turns, this one and those before it, whose sites the site may depend on.
    """

    own: Hashable
    visible: frozenset[Hashable]


@dataclass
class Site:
    """One statement of a program: the message that handlers read and change.

    Attributes:
        kind: Which statement: `sample`, `param`, `deterministic`, `plate` (a choice of subsample) or `module`.
        name: Its name, unique in a trace.
        distribution: What a `sample` site draws from.
        value: What the statement gives; None until a handler or the default has set it.
        is_observed: Whether the value is data.
        scale: What the log density is multiplied by.
        mask: Where the log density counts; None is everywhere.
        plates: The plates around it, innermost last.
        turns: The turns of Markov chains around it, innermost last.
        infer: Directions for inference, such as `{"enumerate": "parallel"}`.
        source: Where random numbers come from; see `posterity.handlers.seed`.
        default: Makes the value where no handler gave one.
        constraint: Of a `param`: where its value lives.
        event_dim: Of a `param` or a `deterministic`: how many of the last dimensions are no batch.
        is_intervened: Whether `posterity.handlers.do` set the value.
        stop: Whether handlers further out must not see it.
    """

    kind: Kind
    name: str
    distribution: Distribution | None = None
    value: Any = None
    is_observed: bool = False
    scale: float | Tensor = 1.0
    mask: bool | Tensor | None = None
    plates: tuple[Frame, ...] = ()
    turns: tuple[Turn, ...] = ()
    infer: dict[str, Any] = field(default_factory=dict)
    source: Source = None
    default: Callable[["Site"], Any] | None = None
    constraint: constraints.Constraint | None = None
    event_dim: int | None = None
    is_intervened: bool = False
    stop: bool = False

    @property
    def is_latent(self) -> bool:
        """Whether this is a random variable that inference is about."""
        return self.kind == "sample" and not self.is_observed

    @property
    def batch_shape(self) -> torch.Size:
        """The batch shape of a sample site's distribution."""
        assert self.distribution is not None
        return self.distribution.batch_shape

    def observe(self, value: Any) -> None:
        """Make a value, a tensor or numbers, the site's data."""
        self.value, self.is_observed = self.as_value(value), True

    def as_value(self, value: Any) -> Any:
        """What a handler was given for the site, with numbers made a tensor, beside the distribution's parameters."""
        if isinstance(value, Tensor):
            return value
        where: dict[str, Any] = {}
        if self.distribution is not None:
            with suppress(AttributeError):  # it has no parameters
                like = self.distribution._like()
                where = {"dtype": like.dtype, "device": like.device}
        try:
            return torch.as_tensor(value, **where)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"the value of site {self.name!r} must be a tensor or numbers, not a {type(value).__name__}"
            ) from None

    def log_prob(self, value: Tensor | None = None) -> Tensor:
        """The unscaled, unmasked log density of the site's value, or of another, of the batch's shape.

        Raises:
            ValueError: The value does not fit the distribution; the site is named.
        """
        assert self.distribution is not None
        return self._log_prob(self.distribution, value)

    def weighted_log_prob(self) -> Tensor:
        """The log density of the site's value under its mask and scale; what is masked is not looked at.

        Raises:
            ValueError: The value, the mask or the scale does not fit the distribution; the site is named.
        """
        assert self.distribution is not None
        for what, weight in (("mask", self.mask), ("scale", self.scale)):
            # An enumerated variable's dimension may be in one of the two alone.
            if isinstance(weight, Tensor) and weight.dim() > 0 and "_enumeration" not in self.infer:
                self._check_spread(what, weight.shape)
        if isinstance(self.mask, Tensor):
            # A value that is masked may be anything, and must not reach the gradient as NaN.
            return self.weighted(self._log_prob(self.distribution.mask(self.mask)))
        return self.weighted(self._log_prob(self.distribution))

    def weighted(self, log_density: Tensor) -> Tensor:
        """A log density under the site's mask and scale."""
        if self.mask is False:
            return torch.zeros_like(log_density)
        if isinstance(self.mask, Tensor):
            log_density = torch.where(self.mask, log_density, 0.0)
        if isinstance(self.scale, Tensor) or self.scale != 1:
            log_density = log_density * self.scale
        return log_density

    def _check_spread(self, what: str, shape: torch.Size) -> None:
        batch = self.batch_shape
        try:
            together = torch.broadcast_shapes(shape, batch)
        except RuntimeError:
            together = None
        if together is None or (together not in (shape, batch) and together.numel() > 0):
            result = "does not broadcast against" if together is None else f"would spread to {tuple(together)} over"
            raise ValueError(
                f"site {self.name!r}: the {what} of shape {tuple(shape)} {result} its batch_shape {tuple(batch)}: give "
                "it the shape of the plates around the site"
            )

    def _log_prob(self, distribution: Distribution, value: Tensor | None = None) -> Tensor:
        try:
            return distribution.log_prob(cast(Tensor, self.value) if value is None else value)
        except ValueError as error:
            kind = "observed " if self.is_observed else ""
            raise ValueError(f"{kind}site {self.name!r}: {error}") from error
