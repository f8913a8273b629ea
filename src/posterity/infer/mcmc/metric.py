r"""Metrics: the linear maps from whitened space, where kernels move, to the target's own.

A Hamiltonian kernel with inverse mass matrix :math:`L L^\top` moves a point :math:`z = L u` exactly as one with the
unit mass matrix moves :math:`u` (Neal, 2011, section 4.1). So kernels know no mass matrix: their target is
`Preconditioned`, and adapting the metric is choosing :math:`L`. Each chain has its own.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from posterity.infer.mcmc.target import Target


class Metric(Protocol):
    r"""A linear map :math:`L`; :math:`L L^\top` should be near the target's covariance."""

    def forward(self, u: Tensor) -> Tensor:
        """`L u` for points of whitened space `[*batch, num_chains, dim]`."""

    def transpose(self, g: Tensor) -> Tensor:
        """`L^T g` for gradients on the target's own space."""

    def inverse(self, z: Tensor) -> Tensor:
        """`L^-1 z`."""


class DiagonalMetric(NamedTuple):
    """One scale for each coordinate.

    Attributes:
        scale: `[num_chains, dim]`, positive: about the target's standard deviations.
    """

    scale: Tensor

    def forward(self, u: Tensor) -> Tensor:
        """`L u`."""
        return self.scale * u

    def transpose(self, g: Tensor) -> Tensor:
        """`L^T g`."""
        return self.scale * g

    def inverse(self, z: Tensor) -> Tensor:
        """`L^-1 z`."""
        return z / self.scale


class DenseMetric(NamedTuple):
    """A Cholesky factor.

    Attributes:
        factor: `[num_chains, dim, dim]`, lower triangular: of about the target's covariance.
    """

    factor: Tensor

    def forward(self, u: Tensor) -> Tensor:
        """`L u`."""
        return (self.factor @ u.unsqueeze(-1)).squeeze(-1)

    def transpose(self, g: Tensor) -> Tensor:
        """`L^T g`."""
        return (self.factor.mT @ g.unsqueeze(-1)).squeeze(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """`L^-1 z`."""
        factor = self.factor.expand(*z.shape[:-1], *self.factor.shape[-2:])
        solved: Tensor = torch.linalg.solve_triangular(factor, z.unsqueeze(-1), upper=False)
        return solved.squeeze(-1)


class LowRankMetric(NamedTuple):
    """A scale for each coordinate, and a few directions that are stretched.

    Attributes:
        scale: `[num_chains, dim]`, positive.
        directions: `[num_chains, dim, rank]`, orthonormal columns.
        stretch: `[num_chains, rank]`, positive: by how much each direction is stretched, before the scales.
    """

    scale: Tensor
    directions: Tensor
    stretch: Tensor

    def forward(self, u: Tensor) -> Tensor:
        """`L u`."""
        return self.scale * self._stretched(u, self.stretch - 1)

    def transpose(self, g: Tensor) -> Tensor:
        """`L^T g`."""
        return self._stretched(self.scale * g, self.stretch - 1)

    def inverse(self, z: Tensor) -> Tensor:
        """`L^-1 z`."""
        return self._stretched(z / self.scale, 1 / self.stretch - 1)

    def _stretched(self, u: Tensor, excess: Tensor) -> Tensor:
        along = excess.unsqueeze(-1) * (self.directions.mT @ u.unsqueeze(-1))
        return u + (self.directions @ along).squeeze(-1)


class Preconditioned:
    """A target in the whitened coordinates of a metric; the Jacobian, a constant, is left out.

    Args:
        target: The target.
        metric: The map from whitened space.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> wide = LogDensity(lambda z: -0.5 * (z / 10).square().sum(), dim=1)
        >>> Preconditioned(wide, DiagonalMetric(torch.full((1, 1), 10.0))).log_density(torch.ones(1, 1))
        tensor([-0.5000])
    """

    def __init__(self, target: Target, metric: Metric) -> None:
        self.target, self.metric = target, metric

    @property
    def dim(self) -> int:
        """How many numbers a point has."""
        return self.target.dim

    def log_density(self, z: Tensor) -> Tensor:
        """The log density at points of whitened space."""
        return self.target.log_density(self.metric.forward(z))

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient in whitened space."""
        value, gradient = self.target.value_and_grad(self.metric.forward(z))
        return value, self.metric.transpose(gradient)
