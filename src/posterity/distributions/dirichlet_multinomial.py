"""The Dirichlet-multinomial distribution: counts over categories whose probabilities are themselves random."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.beta_binomial import BetaBinomial
from posterity.distributions.expectation import expectation
from posterity.distributions.fitting import fit_data, maximum_likelihood
from posterity.distributions.multinomial import Counts
from posterity.kernels import Source
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.samplers import log_standard_gamma, multinomial
from posterity.kernels.samplers.noise import part, settle


class DirichletMultinomial(Distribution):
    r"""Counts of K categories in n trials at probabilities drawn from Dirichlet(a), of event shape `[K]`.

    With A the sum of a, the mass is $\frac{n!\, \Gamma(A)}{\Gamma(n+A)}$ times the product over i of
    $\frac{\Gamma(k_i+a_i)}{k_i!\, \Gamma(a_i)}$.

    Args:
        concentration: a, positive, `[*batch_shape, K]`.
        total_count: Number of trials n, a whole number of at least 0; its shape broadcasts against the batch.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Discrete Multivariate Distributions, 1997, section 35.13.1.

    Example:
        >>> d = DirichletMultinomial(torch.ones(3), total_count=2)
        >>> d.prob(torch.tensor([1.0, 1.0, 0.0])), d.mean
        (tensor(0.1667), tensor([0.6667, 0.6667, 0.6667]))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "concentration": constraints.independent(constraints.positive, 1),
        "total_count": constraints.nonnegative_integer,
    }

    concentration: Tensor
    total_count: Tensor

    def __init__(
        self, concentration: Tensor, total_count: Tensor | float = 1, validate_args: bool | None = None
    ) -> None:
        event_shape = concentration.shape[-1:] if isinstance(concentration, Tensor) else ()
        parameters = {"concentration": concentration, "total_count": total_count}
        self._initialise(parameters, event_shape, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Counts that sum to `total_count`."""
        return Counts(self.total_count)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the counts `value`, of shape `sample_shape + batch_shape`."""
        # In float64 throughout: logarithms of gamma functions of large counts cancel.
        k, a = widened(self._checked_value(value, support=True)), widened(self.concentration)
        n, total = widened(self.total_count), a.sum(-1)
        each = torch.lgamma(k + a) - torch.lgamma(a) - torch.lgamma(k + 1)
        whole = torch.lgamma(n + 1) + torch.lgamma(total) - torch.lgamma(n + total)
        return (whole + each.sum(-1)).to(self.concentration.dtype)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape + event_shape`."""
        with torch.no_grad():
            source = settle(generator, self.concentration)
            # As weights relative to the greatest: those too small to count underflow to 0.
            weights = torch.softmax(log_standard_gamma(self.concentration, sample_shape, source=part(source, 0)), -1)
            return multinomial(self.total_count, weights, source=part(source, 1))

    @property
    def mean(self) -> Tensor:
        """`total_count * concentration / A`."""
        return self._rates * self.total_count.unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        """`n p (1 - p) (n + A) / (1 + A)` with p = a / A, entry by entry."""
        n, total = self.total_count.unsqueeze(-1), self.concentration.sum(-1, keepdim=True)
        return self.mean * (1 - self._rates) * ((n + total) / (1 + total))

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`; terms of one count are averaged under its beta-binomial law."""
        a, n = self.concentration, self.total_count
        total = a.sum(-1)
        rest = total.unsqueeze(-1) - a
        each = BetaBinomial(a, torch.where(rest > 0, rest, a), n.unsqueeze(-1), validate_args=False)
        averaged = expectation(each, lambda k: torch.lgamma(k + 1) - torch.lgamma(k + a) + torch.lgamma(a)).sum(-1)
        mixed = averaged + torch.lgamma(n + total) - torch.lgamma(total) - torch.lgamma(n + 1)
        return mixed if a.shape[-1] > 1 else torch.zeros_like(n)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood of the concentration, by a search.

        Args:
            data: Counts along dimension 0, `[num_data, *batch_shape, K]`, each draw of as many trials.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A count is not whole or negative, or draws are of different numbers of trials.
            ArithmeticError: The search did not converge: where the data spread no more than multinomial ones, the
                likelihood has no maximum.
        """
        data, weights = fit_data("DirichletMultinomial", data, weights, event_rank=1)
        n = data[0].sum(-1)
        cls(torch.ones_like(data[0]), n.abs().floor())._check_values("data", data, Counts(n))

        class Member(cls):  # type: ignore[misc, valid-type]
            def __init__(self, concentration: Tensor, **options: Any) -> None:
                cls.__init__(self, concentration, n.double(), **options)

        Member.__name__ = cls.__name__
        rates = ((weights.unsqueeze(-1) * data).sum(0) + 1e-2) / (n.unsqueeze(-1) + 1e-2)
        found = maximum_likelihood(Member, data, weights, {"concentration": rates * data.shape[-1]})
        return cls(found.concentration.to(data.dtype), n)

    @property
    def _rates(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)
