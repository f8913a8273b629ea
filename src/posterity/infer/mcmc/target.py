"""What a Markov chain draws from: a log density on vectors, for a batch of chains at once."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch does not list it

from posterity.infer.singular_matrices import nan_where_singular


class Target(Protocol):
    """A log density on vectors; `posterity.infer.Potential` is one."""

    @property
    def dim(self) -> int:
        """How many numbers a point has."""

    def log_density(self, z: Tensor) -> Tensor:
        """The log density at points `[*batch, dim]`, up to a constant, `[*batch]`."""

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient, `[*batch]` and `[*batch, dim]`, neither with a graph."""


class LogDensity:
    """A plain function as a target.

    Args:
        function: The log density, up to a constant, of one point `[dim]`, a scalar; or of any batch of points
            `[*batch, dim]`, `[*batch]`, with `batched=True`.
        dim: How many numbers a point has.
        batched: Whether the function takes batches itself; else `torch.vmap` runs it over them.

    Raises:
        TypeError: The function is not callable.
        ValueError: `dim` is no whole number of at least 1, or the function returns another shape.

    Example:
        >>> normal = LogDensity(lambda z: -0.5 * (z * z).sum(), dim=3)
        >>> normal.value_and_grad(torch.ones(2, 3))
        (tensor([-1.5000, -1.5000]), tensor([[-1., -1., -1.],
                [-1., -1., -1.]]))
    """

    def __init__(self, function: Callable[[Tensor], Tensor], dim: int, *, batched: bool = False) -> None:
        if not callable(function):
            raise TypeError(f"LogDensity: function must be callable, not a {type(function).__name__}")
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ValueError(f"LogDensity: dim must be a whole number of at least 1, not {dim!r}")
        self._function, self.dim, self._batched = function, dim, batched

    def log_density(self, z: Tensor) -> Tensor:
        """The log density at points `[*batch, dim]`, `[*batch]`."""
        batch = z.shape[:-1]
        value = nan_where_singular(lambda: self._value(z))
        if value.shape != batch:
            raise ValueError(
                f"the log density of points of shape {tuple(z.shape)} has shape {tuple(value.shape)}, but must have "
                f"{tuple(batch)}: one number for each point"
            )
        return value

    def failure(self, z: Tensor) -> str | None:
        """What has no factor or inverse at a point `[dim]`, in torch's words; None where all has."""
        try:
            self._value(z)
        except LinAlgError as error:
            return str(error)
        return None

    def _value(self, z: Tensor) -> Tensor:
        if self._batched or z.dim() == 1:
            return self._function(z)
        value = torch.vmap(self._function)(z.reshape(-1, self.dim))
        return value.reshape(z.shape[:-1] + value.shape[1:])

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient, `[*batch]` and `[*batch, dim]`, neither with a graph."""
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            value = self.log_density(point)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach(), gradient
