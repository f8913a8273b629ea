"""Location-scale families that a network's outputs can be the parameters of."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posterity import distributions as dist

Family = str | Callable[[Tensor, Tensor], torch.distributions.Distribution]

_BY_NAME: dict[str, Callable[[Tensor, Tensor], torch.distributions.Distribution]] = {
    "normal": dist.Normal,
    "laplace": dist.Laplace,
    "logistic": dist.Logistic,
}

# Student's variance is df / (df - 2) times its squared scale: bounded, so that an aleatoric part stays finite.
_LEAST_DF = 2.1


class LocationScale(nn.Module):
    """A family of distributions with a location and a positive scale, as a function of the two.

    `"student_t"` has degrees of freedom that are trained, one number for each entry of `shape`, above 2.1 so that the
    variance is finite.

    Args:
        family: `"normal"`, `"student_t"`, `"laplace"`, `"logistic"`, or a function from location and scale to a
            distribution with their shape as its batch shape.
        shape: the last dimensions of location and scale.

    Raises:
        ValueError: if the family is not known.
        TypeError: if it is neither a name nor a function; at the call, if the function returns something else than
            a distribution.

    Example:
        >>> LocationScale("student_t", (3,))(torch.zeros(5, 3), torch.ones(5, 3)).batch_shape
        torch.Size([5, 3])
    """

    def __init__(self, family: Family, shape: tuple[int, ...]) -> None:
        super().__init__()
        if isinstance(family, str) and family not in {*_BY_NAME, "student_t"}:
            names = ", ".join(repr(name) for name in ("normal", "student_t", *list(_BY_NAME)[1:]))
            raise ValueError(f"family must be one of {names}, or a function of (loc, scale), got {family!r}")
        if not isinstance(family, str) and not callable(family):
            raise TypeError(f"family must be a name or a function of (loc, scale), got {type(family).__name__}")
        self.family = family
        if family == "student_t":
            self.raw_df = nn.Parameter(torch.full(shape, 3.0))

    def forward(self, loc: Tensor, scale: Tensor) -> dist.Distribution:
        """The distribution with this location and scale."""
        if self.family == "student_t":
            return dist.StudentT(_LEAST_DF + F.softplus(self.raw_df), loc, scale)
        make = _BY_NAME[self.family] if isinstance(self.family, str) else self.family
        made = make(loc, scale)
        if not isinstance(made, torch.distributions.Distribution) or made.batch_shape != loc.shape:
            shape = getattr(made, "batch_shape", None)
            raise TypeError(
                "family: the function of (loc, scale) must return a Distribution with batch shape "
                f"{list(loc.shape)}, got {type(made).__name__} with {None if shape is None else list(shape)}"
            )
        return dist.lift(made)

    def extra_repr(self) -> str:
        """The family."""
        return repr(self.family)
