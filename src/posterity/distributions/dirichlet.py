"""The Dirichlet distribution over probabilities that sum to one."""

from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.covariance import last_sizes
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import Source
from posterity.kernels.samplers import dirichlet

_MAX_STEPS = 100


class Dirichlet(Distribution, torch.distributions.Dirichlet):
    r"""The Dirichlet distribution, with density $\propto \prod_i x_i^{concentration_i - 1}$ on the simplex.

    The density is that of the first K - 1 entries.

    Args:
        concentration: Positive, `[*batch_shape, K]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `concentration` is no real tensor.
        ValueError: It has no dimension, or is not positive.

    Source: Kotz, Balakrishnan and Johnson, Continuous Multivariate Distributions, volume 1, 2000, chapter 49.

    Example:
        >>> d = Dirichlet(torch.tensor([2.0, 3.0, 5.0]))
        >>> d.mean, d.mode
        (tensor([0.2000, 0.3000, 0.5000]), tensor([0.1429, 0.2857, 0.5714]))
    """

    concentration: Tensor

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        self._initialise(
            {"concentration": concentration}, event_shape=last_sizes(concentration, 1), validate_args=validate_args
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return torch.xlogy(self.concentration - 1, value).sum(-1) - _log_normaliser(self.concentration)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [K]`, positive however small the concentration."""
        return dirichlet(self.concentration, sample_shape, source=generator)

    @property
    def mode(self) -> Tensor:
        """Where the density is greatest, of shape `batch_shape + [K]`.

        With concentrations below 1 it is unbounded, and this is such a point; with all of them 1 it is constant, and
        the centre is given.
        """
        above = (self.concentration - 1).clamp(min=0)
        total = above.sum(-1, keepdim=True)
        interior = above / torch.where(total > 0, total, 1.0)
        flat = (self.concentration == 1).all(-1, keepdim=True)
        most = self.concentration.argmax(-1, keepdim=True)
        places = torch.arange(self.concentration.shape[-1], device=self.concentration.device)
        vertex = (places == most).to(self.concentration.dtype)
        return torch.where(total > 0, interior, torch.where(flat, 1 / self.concentration.shape[-1], vertex))

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance, singular because the entries sum to 1, `[*batch_shape, K, K]`."""
        mean = self.mean
        total = self.concentration.sum(-1)[..., None, None]
        return (mean.diag_embed() - mean.unsqueeze(-1) * mean.unsqueeze(-2)) / (total + 1)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood, by Newton's method from the moments.

        Args:
            data: Independent draws along dimension 0, positive, `[num_data, *batch_shape, K]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: An entry is zero, or a draw does not lie on the simplex.
            ArithmeticError: There is no maximum, as where all draws are alike.

        Source: Minka, Estimating a Dirichlet Distribution, 2000, equations 15 to 18.

        Example:
            >>> draws = Dirichlet(torch.tensor([2.0, 3.0, 5.0])).sample((20_000,), generator=torch.Generator())
            >>> bool((Dirichlet.fit(draws).concentration - torch.tensor([2.0, 3.0, 5.0])).abs().max() < 0.3)
            True
        """
        data, weights = fit_data("Dirichlet", data, weights, event_rank=1)
        Dirichlet(torch.ones_like(data[0]))._check_values("data", data, cls.support)
        if not bool((data > 0).all()):
            raise ValueError(
                "data of Dirichlet.fit must be positive, but hold zeros, at which the likelihood has no maximum: "
                "leave those entries out, or add a little to all of them."
            )
        return cls(_most_likely(data.double(), weights.double()).to(data.dtype))


def _most_likely(data: Tensor, weights: Tensor) -> Tensor:
    # Weights of single precision add up to 1 within its rounding only.
    weights = (weights / weights.sum(0)).unsqueeze(-1)
    log_means = (weights * data.log()).sum(0)
    mean = (weights * data).sum(0)
    variance = (weights * (data - mean).square()).sum(0)
    if bool((variance.sqrt() <= 4 * torch.finfo(data.dtype).eps * mean).all(-1).any()):
        raise ArithmeticError("Dirichlet.fit found no maximum of the likelihood: the draws are all alike.")
    # Each entry's mean and variance tell the total concentration; the median of what they say begins.
    total = (mean * (1 - mean) / variance.clamp(min=1e-300) - 1).median(-1, keepdim=True).values
    alpha = mean * total.clamp(1e-3, 1e8)
    for _ in range(_MAX_STEPS):
        gradient = torch.digamma(alpha.sum(-1, keepdim=True)) - torch.digamma(alpha) + log_means
        diagonal = -torch.polygamma(1, alpha)
        shared = torch.polygamma(1, alpha.sum(-1, keepdim=True))
        b = (gradient / diagonal).sum(-1, keepdim=True) / (1 / shared + (1 / diagonal).sum(-1, keepdim=True))
        step = (b - gradient) / diagonal
        # No entry falls below a tenth of itself in one step; the likelihood is concave, so that full ones follow.
        length = torch.where(step < 0, 0.9 * alpha / -step, 1.0).amin(-1, keepdim=True).clamp(max=1)
        alpha = alpha + length * step
        if bool((step.abs() <= 1e-13 * alpha).all()):
            break
    if not bool(((step.abs() <= 1e-6 * alpha) & (alpha < 1e12)).all()):
        raise ArithmeticError("Dirichlet.fit did not converge: the likelihood of these data may have no maximum.")
    return alpha


def _log_normaliser(concentration: Tensor) -> Tensor:
    return torch.lgamma(concentration).sum(-1) - torch.lgamma(concentration.sum(-1))


@register_kl(Dirichlet, Dirichlet)
def _kl_dirichlet_dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    mean_log = torch.digamma(a) - torch.digamma(a.sum(-1, keepdim=True))
    return _log_normaliser(b) - _log_normaliser(a) + ((a - b) * mean_log).sum(-1)
