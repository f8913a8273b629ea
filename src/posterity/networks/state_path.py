"""A Markov path of states whose steps a network describes: drawn step by step, its density taken at once."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions import Distribution
from posterity.kernels import Source, normal

# From the states before, `[..., latent_size]`, and what else is known there, to location and scale of the next ones.
Step = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class StatePath(Distribution):
    r"""States $z_1, \dots, z_T$, each normal given the one before: $z_t \sim N(m(z_{t-1}, c_t), s(z_{t-1}, c_t)^2)$.

    Drawing goes through the steps one by one; the density of a whole path is one call of the network for all steps,
    which is why a path is a single site of a program.

    Args:
        step: the network: states before `[..., latent_size]` and context `[..., width]`, or None, to `(loc, scale)`.
        start: the state before the first, `[latent_size]`, or one for each path.
        num_steps: T.
        batch: how many paths.
        context: what is known at each step besides, `[batch, T, width]`, or None.
        counted: which steps count, `[batch, T]`; a path ends at the last of them. None: all.

    Example:
        >>> walk = StatePath(lambda z, c: (z, torch.ones_like(z)), torch.zeros(2), num_steps=5, batch=3)
        >>> path = walk.rsample()
        >>> path.shape, walk.log_prob(path).shape
        (torch.Size([3, 5, 2]), torch.Size([3]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # declared by torch's base
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        step: Step,
        start: Tensor,
        num_steps: int,
        batch: int,
        context: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> None:
        self.step, self.start, self.context, self.counted = step, start, context, counted
        super().__init__((batch,), (num_steps, start.shape[-1]))

    def expand(self, batch_shape: _size, _instance: object = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        for name in ("context", "counted"):
            tensor = getattr(self, name)
            setattr(new, name, None if tensor is None else tensor.expand(*batch_shape, *tensor.shape[1:]))
        new._batch_shape = batch_shape
        return new

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Paths of shape `sample_shape + batch_shape + [num_steps, latent_size]`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.start.dtype, device=self.start.device)
        contexts = [None] * shape[-2] if self.context is None else self.context.unbind(-2)
        state, states = self.start, []
        for eps, context in zip(noise.unbind(-2), contexts, strict=True):
            loc, scale = self.step(state, context)
            state = loc + scale * eps
            states.append(state)
        return torch.stack(states, -2)

    def parameters_given(self, path: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of each step of a path, given the step before it in that path, in one call."""
        start = self.start.unsqueeze(-2).expand(*path.shape[:-2], 1, -1)
        return self.step(torch.cat([start, path[..., :-1, :]], -2), self.context)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the counted steps of `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        loc, scale = self.parameters_given(value)
        density = -0.5 * ((value - loc) / scale).square() - scale.log() - _HALF_LOG_2_PI
        return self.total(density.sum(-1))

    def total(self, by_step: Tensor) -> Tensor:
        """The sum over the steps that count of `[..., *batch_shape, num_steps]`."""
        return (by_step if self.counted is None else torch.where(self.counted, by_step, 0.0)).sum(-1)

    def _like(self) -> Tensor:
        return self.start


_HALF_LOG_2_PI = 0.9189385332046727
