"""Cholesky factors of random correlation matrices."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.covariance import require_square
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.roots import positive_root
from posterity.kernels import Source, normal
from posterity.kernels.gamma_ratio import digamma_difference, log_gamma_ratio
from posterity.kernels.samplers import log_standard_gamma


class LKJCholesky(Distribution, torch.distributions.LKJCholesky):
    r"""The law of the Cholesky factor L of a correlation matrix with density $\propto |L L^T|^{concentration - 1}$.

    Concentration 1 is the uniform distribution over correlation matrices, above 1 they gather at the identity. The
    rows of L are independent, and the square of the diagonal entry of row i is a beta variate.

    Args:
        dim: Size of the matrices, at least 2.
        concentration: Positive, `[*batch_shape]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `concentration` is neither a number nor a real tensor.
        ValueError: `dim` is no integer above 1, or `concentration` is not positive.

    Source: Lewandowski, Kurowicka and Joe, Generating Random Correlation Matrices Based on Vines and Extended Onion
    Method, 2009, section 3.

    Example:
        >>> d = LKJCholesky(3, 1.0)
        >>> d.log_prob(torch.eye(3)), d.mean.diagonal()
        (tensor(-1.5963), tensor([1.0000, 0.8488, 0.6667]))
    """

    has_rsample = True

    concentration: Tensor

    def __init__(self, dim: int, concentration: Tensor | float = 1.0, validate_args: bool | None = None) -> None:
        if not isinstance(dim, int) or dim < 2:
            raise ValueError(f"dim of LKJCholesky must be an integer of at least 2, but is {dim!r}.")
        self.dim = dim
        self._initialise({"concentration": concentration}, event_shape=(dim, dim), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the entries below the diagonal of `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        a, half = self._shapes()
        log_diagonal = value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()
        return (2 * (a - 1) * log_diagonal - _log_normalisers(a, half)).sum(-1)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [dim, dim]`: a beta variate and a direction for each row."""
        a, half = self._shapes()
        log_gamma = log_standard_gamma(torch.stack([a, half.expand_as(a)], -1), sample_shape, source=generator)
        log_odds = log_gamma[..., 0] - log_gamma[..., 1]
        # Both the diagonal and what is beside it keep their digits as the other nears 1.
        diagonal = (0.5 * F.logsigmoid(log_odds)).exp().clamp(min=torch.finfo(a.dtype).tiny)
        radius = (0.5 * F.logsigmoid(-log_odds)).exp()
        noise = normal((*diagonal.shape, self.dim - 1), source=generator, dtype=a.dtype, device=a.device).tril()
        rows = radius.unsqueeze(-1) * noise / noise.norm(dim=-1, keepdim=True)
        return F.pad(rows, (0, 1, 1, 0)) + F.pad(diagonal, (1, 0), value=1.0).diag_embed()

    @property
    def mean(self) -> Tensor:
        """Mean entry by entry, of shape `batch_shape + [dim, dim]`: zero below the diagonal."""
        return F.pad(self._mean_diagonal(), (1, 0), value=1.0).diag_embed()

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry, of shape `batch_shape + [dim, dim]`."""
        a, half = self._shapes()
        diagonal = a / (a + half) - self._mean_diagonal().square()
        below = (0.5 / (a + half)).unsqueeze(-1).expand(*a.shape, self.dim - 1).tril()
        return F.pad(below, (0, 1, 1, 0)) + F.pad(diagonal, (1, 0)).diag_embed()

    @property
    def mode(self) -> Tensor:
        """The identity; NaN for concentrations below 1, whose density is unbounded at the correlations -1 and 1."""
        identity = torch.eye(self.dim, dtype=self.concentration.dtype, device=self.concentration.device)
        return torch.where(self.concentration[..., None, None] >= 1, identity, torch.nan)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        a, half = self._shapes()
        return (_log_normalisers(a, half) + (a - 1) * digamma_difference(a, half)).sum(-1)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the concentration whose mean log-determinant is that of the data.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, dim, dim]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is no Cholesky factor of a correlation matrix.
            ArithmeticError: There is no maximum, as where all draws are the identity.

        Example:
            >>> draws = LKJCholesky(3, 2.0).sample((20_000,), generator=torch.Generator())
            >>> bool((LKJCholesky.fit(draws).concentration - 2).abs() < 0.2)
            True
        """
        data, weights = fit_data("LKJCholesky", data, weights, event_rank=2)
        require_square("LKJCholesky.fit", "data", data)
        dim = data.shape[-1]
        cls(dim, data.new_ones(()))._check_values("data", data, constraints.corr_cholesky)
        log_det = (weights * 2 * data.diagonal(dim1=-2, dim2=-1).log().sum(-1)).sum(0)

        def mean_log_det(concentration: Tensor) -> Tensor:
            a, half = cls(dim, concentration, validate_args=False)._shapes()
            return -digamma_difference(a, half).sum(-1)

        return cls(dim, positive_root("LKJCholesky", mean_log_det, log_det).to(data.dtype))

    def _shapes(self) -> tuple[Tensor, Tensor]:
        """Of the beta variates L_ii^2 of the rows from the second: concentrations `[*batch, dim - 1]`, `[dim - 1]`."""
        half = 0.5 * torch.arange(1, self.dim, dtype=self.concentration.dtype, device=self.concentration.device)
        return self.concentration.unsqueeze(-1) + (0.5 * (self.dim - 1) - half), half

    def _mean_diagonal(self) -> Tensor:
        a, half = self._shapes()
        return (log_gamma_ratio(a, 0.5) - log_gamma_ratio(a + half, 0.5)).exp()


def _log_normalisers(a: Tensor, half: Tensor) -> Tensor:
    # The integral of (1 - |w|^2)^(a - 1) over the unit ball in 2 * half dimensions.
    return half * math.log(math.pi) - log_gamma_ratio(a, half)


@register_kl(LKJCholesky, LKJCholesky)
def _kl_lkj_lkj(p: LKJCholesky, q: LKJCholesky) -> Tensor:
    (a, half), (b, _) = p._shapes(), q._shapes()
    gain = _log_normalisers(b, half) - _log_normalisers(a, half)
    return (gain - (a - b) * digamma_difference(a, half)).sum(-1)
