"""The multivariate normal distribution, from any of covariance, precision and Cholesky factor."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.constant_data import varies
from posterity.distributions.covariance import (
    Covariance,
    factor_of,
    last_sizes,
    log_diagonal,
    multiplied,
    on_columns,
    positive_definite,
    require_event_shape,
    substituted,
    whitened,
)
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.parameters import exactly_one
from posterity.kernels import Source, normal
from posterity.kernels.covariance_density import log_det, squared_distances
from posterity.kernels.reading import is_constant
from posterity.runtime import validation_enabled


class MultivariateNormal(Covariance, Distribution, torch.distributions.MultivariateNormal):
    r"""The normal distribution over vectors, with density $\propto e^{-(x - loc)^T \Sigma^{-1} (x - loc) / 2}$.

    $\Sigma$ is given by exactly one of the three matrices; `scale_tril` is the cheapest.

    Args:
        loc: Mean, `[*batch_shape, n]`.
        covariance_matrix: $\Sigma$, positive definite, `[*batch_shape, n, n]`.
        precision_matrix: $\Sigma^{-1}$, positive definite, `[*batch_shape, n, n]`.
        scale_tril: Lower triangular L with a positive diagonal and $L L^T = \Sigma$, `[*batch_shape, n, n]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is no real tensor.
        ValueError: Not exactly one matrix is given, shapes do not fit, or a value violates its constraint.

    Source: Anderson, An Introduction to Multivariate Statistical Analysis, 2003, chapter 2.

    Example:
        >>> d = MultivariateNormal(torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> d.log_prob(torch.zeros(2)), d.variance
        (tensor(-2.3872), tensor([2.0000, 2.0000]))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real_vector,
        "covariance_matrix": positive_definite,
        "precision_matrix": positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }

    loc: Tensor

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = exactly_one(
            "MultivariateNormal",
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        ((name, matrix),) = given.items()
        size = last_sizes(loc, 1)
        require_event_shape("MultivariateNormal", name, matrix, size + size)
        self._initialise({"loc": loc, **given}, event_shape=size, validate_args=validate_args)
        # Before it is broadcast: one factor serves a whole batch of means. torch's formulas look for it here.
        matrix = torch.as_tensor(matrix).to(self.loc.dtype)
        self._unbroadcasted_scale_tril = factor_of(name, matrix)
        # Derivatives go to the covariance itself, if it was given and there are any.
        self._moving_covariance = None if name != "covariance_matrix" or is_constant(matrix) else matrix

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        difference = self._checked_value(value, support=True) - self.loc
        constant = 0.5 * difference.shape[-1] * math.log(2 * math.pi)
        return -0.5 * self._squared_distance(difference) - 0.5 * self._log_det() - constant

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `loc + scale_tril @ noise`, of shape `sample_shape + batch_shape + [n]`."""
        shape = self._extended_shape(sample_shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + multiplied(self._unbroadcasted_scale_tril, noise)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the mean, and the covariance around it.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, n]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: The draws lie in a hyperplane, as n or fewer do: the likelihood then has no maximum.

        Example:
            >>> d = MultivariateNormal.fit(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]))
            >>> d.covariance_matrix
            tensor([[0.5000, 0.0000],
                    [0.0000, 2.0000]])
        """
        data, weights = fit_data("MultivariateNormal", data, weights, event_rank=1)
        loc, covariance = weighted_moments(data, weights)
        refuse_flat("MultivariateNormal", data, weights, covariance)
        return cls(loc, covariance_matrix=covariance)

    def _log_det(self) -> Tensor:
        factor, covariance = self._unbroadcasted_scale_tril, self._moving_covariance
        return 2 * log_diagonal(factor) if covariance is None else log_det(covariance, factor)

    def _squared_distance(self, difference: Tensor) -> Tensor:
        factor, covariance = self._unbroadcasted_scale_tril, self._moving_covariance
        if covariance is None:
            return whitened(factor, difference).square().sum(-1)

        def distances(columns: Tensor) -> Tensor:
            return squared_distances(covariance, factor, columns).unsqueeze(-2)

        return on_columns(distances, factor, difference).squeeze(-1)

    def _trace_with(self, factor: Tensor) -> Tensor:
        """The trace of precision_matrix @ factor @ factor.mT."""
        return substituted(self._unbroadcasted_scale_tril, factor).square().sum((-2, -1))

    def _trace_with_diagonal(self, diagonal: Tensor) -> Tensor:
        """The trace of precision_matrix @ diag(diagonal)."""
        return self._trace_with(diagonal.sqrt().diag_embed())

    def _traces_under(self, other: "MultivariateNormal") -> Tensor:
        """The trace of other's precision matrix times this covariance."""
        return other._trace_with(self._unbroadcasted_scale_tril)


def weighted_moments(data: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[*batch, n]` and covariance `[*batch, n, n]` of vectors along dimension 0; weights as `fit_data` gives."""
    loc = (weights.unsqueeze(-1) * data).sum(0)
    centred = weights.unsqueeze(-1).sqrt() * (data - loc)
    return loc, torch.einsum("s...i,s...j->...ij", centred, centred)


def refuse_flat(owner: str, data: Tensor, weights: Tensor, covariance: Tensor) -> None:
    """Raises where the data of a fit, of this covariance `[*batch, n, n]`, lie in a hyperplane.

    Raises:
        ValueError: They do.
    """
    factor, info = torch.linalg.cholesky_ex(covariance)
    # What a hyperplane leaves of a variance is its rounding.
    rounding = 8 * covariance.shape[-1] * torch.finfo(covariance.dtype).eps * covariance.diagonal(dim1=-2, dim2=-1)
    thick = (factor.diagonal(dim1=-2, dim2=-1).square() > rounding) & varies(data, weights.unsqueeze(-1))
    if validation_enabled() and not torch._is_all_true(thick.all(-1) & (info == 0)):
        raise ValueError(
            f"data of {owner}.fit lie in a hyperplane, so that the likelihood has no maximum: give at least "
            f"{covariance.shape[-1] + 1} draws in general position."
        )


@register_kl(MultivariateNormal, MultivariateNormal)
def kl_of_normals(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    """Of any two normal distributions that know log-determinant, distances and traces."""
    gain = q._log_det() - p._log_det() + p._traces_under(q) + q._squared_distance(q.loc - p.loc)
    return 0.5 * (gain - p.event_shape[0])
