"""The multinomial distribution of counts over categories."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.binomial import Binomial
from posterity.distributions.categorical import Categorical
from posterity.distributions.expectation import expectation
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.distributions.parameters import beside, broadcast_shapes
from posterity.kernels import Source
from posterity.kernels.poisson_mass import log_poisson_mass
from posterity.kernels.samplers import multinomial


class Multinomial(Distribution, torch.distributions.Multinomial):
    r"""Counts of K categories in n independent trials, with mass $n! \prod_i p_i^{k_i} / k_i!$, of event shape `[K]`.

    Args:
        total_count: Number of trials n, a whole number of at least 0; its shape broadcasts against the batch.
        probs: Non-negative weights of the categories, `[*batch_shape, K]`; they are normalised to sum to 1.
        logits: Unnormalised log weights, `[*batch_shape, K]`; minus infinity excludes a category.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given of `probs` and `logits` is not a real tensor.
        ValueError: Both or neither are given, there is no category dimension, shapes do not broadcast, or a value
            violates its constraint.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000, for the form of the mass.

    Example:
        >>> d = Multinomial(4, probs=torch.tensor([0.5, 0.25, 0.25]))
        >>> d.prob(torch.tensor([2.0, 1.0, 1.0])), d.mean
        (tensor(0.1875), tensor([2., 1., 1.]))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }

    def __init__(
        self,
        total_count: Tensor | float = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        categories = Categorical(probs, logits, validate_args=validate_args)
        like = categories._param
        count = beside("Multinomial", "total_count", total_count, like)
        shape = broadcast_shapes(
            "batch shapes of the parameters of Multinomial",
            total_count=count.shape,
            **{"probs" if logits is None else "logits": categories.batch_shape},
        )
        self._categorical = categories.expand(shape)
        self.total_count = count.expand(shape)  # type: ignore[assignment]  # torch's is one int
        Distribution.__init__(self, shape, like.shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Counts that sum to `total_count`."""
        return Counts(self._trials)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new._categorical = self._categorical.expand(batch_shape)
        new.total_count = self._trials.expand(batch_shape)  # type: ignore[assignment]
        new._batch_shape = batch_shape
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the counts `value`, of shape `sample_shape + batch_shape`."""
        counts = self._checked_value(value, support=True).to(self._like().dtype)
        parts = log_poisson_mass(counts, self._trials.unsqueeze(-1) * self.probs)
        return parts.sum(-1) - log_poisson_mass(self._trials, self._trials)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape + event_shape`."""
        return multinomial(self._trials, self.probs, sample_shape, source=generator)

    @property
    def mean(self) -> Tensor:
        """`total_count * probs`."""
        probs: Tensor = self._categorical.probs
        return probs * self._trials.unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        """`total_count * probs * (1 - probs)`, entry by entry."""
        probs: Tensor = self._categorical.probs
        return self.mean * (1 - probs)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`; the factorials are averaged under each count's binomial law."""
        n = self._trials
        each = Binomial(n.unsqueeze(-1), probs=self.probs, validate_args=False)
        factorials = expectation(each, lambda k: torch.lgamma(k + 1)).sum(-1)
        entropy: Tensor = n * self._categorical.entropy() + factorials - torch.lgamma(n + 1)
        return entropy

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the observed frequencies.

        Args:
            data: Counts along dimension 0, `[num_data, *batch_shape, K]`, each draw of as many trials.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A count is not whole or negative, or draws are of different numbers of trials.

        Example:
            >>> Multinomial.fit(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).probs
            tensor([0.5000, 0.5000])
        """
        data, weights = fit_data("Multinomial", data, weights, event_rank=1)
        n = data[0].sum(-1)
        cls(n.abs().floor(), torch.ones_like(data[0]))._check_values("data", data, Counts(n))
        frequencies = (weights.unsqueeze(-1) * data).sum(0)
        return cls(n, probs=torch.where(n.unsqueeze(-1) > 0, frequencies, 1))

    @property
    def _trials(self) -> Tensor:
        count: Tensor = self.__dict__["total_count"]
        return count

    def _like(self) -> Tensor:
        return self._categorical._param


class Counts(constraints.multinomial):
    """Vectors of counts that sum to `upper_bound`; torch's allows for smaller sums."""

    def __init__(self, upper_bound: Tensor) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector is one."""
        valid: Tensor = ((value >= 0) & (value % 1 == 0)).all(-1) & (value.sum(-1) == self.upper_bound)
        return valid

    def __repr__(self) -> str:
        return "Counts(whole, of at least 0, summing to total_count)"


@register_kl(Multinomial, Multinomial)
def _kl_multinomial_multinomial(p: Multinomial, q: Multinomial) -> Tensor:
    # Vectors of other sums are excluded.
    same = p._trials * kl_divergence(p._categorical, q._categorical)
    return torch.where(p._trials == q._trials, torch.where(p._trials == 0, 0, same), torch.inf)
