"""What a statement of a program says to the handlers around it, and what a trace keeps of it."""

from collections.abc import Callable
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

    def log_prob(self, value: Tensor | None = None) -> Tensor:
        """The unscaled, unmasked log density of the site's value, or of another, of the batch's shape."""
        assert self.distribution is not None
        return self.distribution.log_prob(cast(Tensor, self.value) if value is None else value)

    def weighted(self, log_density: Tensor) -> Tensor:
        """A log density under the site's mask and scale."""
        if self.mask is False:
            return torch.zeros_like(log_density)
        if isinstance(self.mask, Tensor):
            log_density = torch.where(self.mask, log_density, 0.0)
        if isinstance(self.scale, Tensor) or self.scale != 1:
            log_density = log_density * self.scale
        return log_density
