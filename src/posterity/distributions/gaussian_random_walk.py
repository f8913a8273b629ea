"""A walk whose steps are independent normal numbers."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import Source, normal


class GaussianRandomWalk(Distribution):
    r"""The path $x_t = x_{t-1} + scale\,\epsilon_t$ from $x_0 = 0$, with standard normal $\epsilon_t$.

    A draw holds $x_1, \dots, x_{num\_steps}$. Its marginals are normal with variance $t\,scale^2$.

    Args:
        scale: Standard deviation of one step, positive, `[*batch_shape]`.
        num_steps: How many steps, at least 1.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `scale` is neither a number nor a real tensor.
        ValueError: `num_steps` is no positive integer, or `scale` is not positive.

    Source: Kallenberg, Foundations of Modern Probability, 2002, chapter 13 (Brownian motion at the integers).

    Example:
        >>> d = GaussianRandomWalk(2.0, num_steps=3)
        >>> d.variance, d.covariance_matrix[0]
        (tensor([ 4.,  8., 12.]), tensor([4., 4., 4.]))
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.real_vector
    has_rsample = True

    scale: Tensor

    def __init__(self, scale: Tensor | float, num_steps: int = 1, validate_args: bool | None = None) -> None:
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps of GaussianRandomWalk must be a positive integer, but is {num_steps!r}.")
        self.num_steps = num_steps
        self._initialise({"scale": scale}, event_shape=(num_steps,), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the path `value`, of shape `sample_shape + batch_shape`."""
        steps = _steps(self._checked_value(value, support=True)) / self.scale.unsqueeze(-1)
        return -0.5 * steps.square().sum(-1) - self.num_steps * (self.scale.log() + 0.5 * math.log(2 * math.pi))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Paths of shape `sample_shape + batch_shape + [num_steps]`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.scale.dtype, device=self.scale.device)
        return self.scale.unsqueeze(-1) * noise.cumsum(-1)

    @property
    def mean(self) -> Tensor:
        """Zero at every step, of shape `batch_shape + [num_steps]`."""
        return torch.zeros_like(self.variance)

    @property
    def variance(self) -> Tensor:
        """`t * scale^2` after t steps, of shape `batch_shape + [num_steps]`."""
        return self.scale.square().unsqueeze(-1) * self._times()

    @property
    def covariance_matrix(self) -> Tensor:
        """`min(s, t) * scale^2`, of shape `batch_shape + [num_steps, num_steps]`."""
        times = self._times()
        return self.scale.square()[..., None, None] * torch.minimum(times.unsqueeze(-1), times)

    @property
    def mode(self) -> Tensor:
        """The path that stays at zero."""
        return self.mean

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`: that of the independent steps."""
        return self.num_steps * (self.scale.log() + 0.5 * math.log(2 * math.pi * math.e))

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the root mean square of all steps.

        Args:
            data: Independent paths along dimension 0, `[num_data, *batch_shape, num_steps]`.
            weights: How much each path counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: No path moves: the likelihood then has no maximum.

        Example:
            >>> GaussianRandomWalk.fit(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).scale
            tensor(1.)
        """
        data, weights = fit_data("GaussianRandomWalk", data, weights, event_rank=1)
        mean_square = (weights * _steps(data).square().mean(-1)).sum(0)
        return cls(mean_square.sqrt(), num_steps=data.shape[-1])

    def _times(self) -> Tensor:
        return torch.arange(1, self.num_steps + 1, dtype=self.scale.dtype, device=self.scale.device)


def _steps(path: Tensor) -> Tensor:
    return path - F.pad(path[..., :-1], (1, 0))


@register_kl(GaussianRandomWalk, GaussianRandomWalk)
def _kl_walk_walk(p: GaussianRandomWalk, q: GaussianRandomWalk) -> Tensor:
    r = (p.scale / q.scale).log()
    return p.num_steps * 0.5 * (torch.expm1(2 * r) - 2 * r)
