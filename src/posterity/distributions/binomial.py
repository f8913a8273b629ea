"""The binomial distribution, accurate for huge counts and in both tails."""

import math
from functools import partial
from typing import Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.binary_odds import BinaryOdds, binary_kl
from posterity.distributions.count_quantiles import ROUGH_LIMIT, count_quantile
from posterity.distributions.counts import BoundedCount, outside_counts
from posterity.distributions.expectation import expectation
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import log_prob_anywhere, register_kl
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, log_betainc, log_betaincc
from posterity.kernels.binomial_mass import binomial_terms, log_binomial_mass, quick_binomial_mass
from posterity.kernels.finite_tails import finite_betainc, finite_betaincc
from posterity.kernels.samplers import binomial
from posterity.kernels.samplers.noise import is_eager


class Binomial(BoundedCount, BinaryOdds, torch.distributions.Binomial):  # type: ignore[override]
    r"""The number of successes among n trials, with mass $\binom{n}{k} p^k (1-p)^{n-k}$.

    Args:
        total_count: Number of trials n, a whole number of at least 0.
        probs: Probability p of a success, in [0, 1]. Give this or `logits`.
        logits: Log odds of a success.
        validate_args: Whether values are checked; None follows the library's switch.

    The KL between different total counts is summed; where that cannot be (in graphs, under `vmap`) it is NaN.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Both or neither of `probs` and `logits` are given, shapes do not broadcast, or a value violates
            its constraint.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000; the cdf is DLMF 8.17.5.

    Example:
        >>> d = Binomial(1_000_000, probs=0.3)
        >>> d.log_prob(torch.tensor(300_000.0)), d.median
        (tensor(-7.0464), tensor(300000.))
    """

    def __init__(
        self,
        total_count: Tensor | float = 1,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise_odds(probs, logits, {"total_count": total_count}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value` successes, of shape `sample_shape + batch_shape`."""
        k, logits = self._checked_value(value).to(self.total_count.dtype), self._given == "logits"
        terms = remembered(self, _TERMS[logits], self.total_count, self._param)
        mass = quick_binomial_mass(k, self.total_count, terms)
        if mass is None:
            self._checked_value(value, support=True)
            mass = self._inside_only(k, log_binomial_mass(k, self.total_count, self._param, logits=logits))
        return mass

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self._tail(finite_betaincc, value, 0.0, 1.0)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return self._tail(log_betaincc, value, -torch.inf, 0.0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return self._tail(finite_betainc, value, 1.0, 0.0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return self._tail(log_betainc, value, 0.0, -torch.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """The least count whose cdf reaches the probability `value` in [0, 1]."""
        skewness = (self._failure - self._success) * self.variance.rsqrt()
        excess = (1 - 6 * self._success * self._failure) / self.variance
        return count_quantile(self, self._checked_level(value), skewness, excess, Binomial._rough_prob)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape`."""
        if self._given == "probs":
            return binomial(self.total_count, self._param, sample_shape, source=generator)
        with torch.no_grad():
            # The rarer of the two outcomes is drawn: near 1 a probability has lost its digits.
            rare = torch.minimum(self._success, self._failure)
            drawn = binomial(self.total_count, rare, sample_shape, source=generator)
            return torch.where(self._param <= 0, drawn, self.total_count - drawn)

    @property
    def mean(self) -> Tensor:
        """`total_count * probs`."""
        return self.total_count * self._success

    @property
    def variance(self) -> Tensor:
        """`total_count * probs * (1 - probs)`."""
        return self.total_count * self._success * self._failure

    @property
    def mode(self) -> Tensor:
        """The most probable count; the greater of two that are equally so."""
        return ((self.total_count + 1) * self._success).floor().minimum(self.total_count)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`, summed over the counts that carry the mass.

        Where the variance is above 2^20 it is that of a normal, less a twelfth of the squared skewness, to 1e-12.
        """
        variance = self.variance
        if not is_eager(variance):
            return self._expectation(lambda k: -self.log_prob(k))
        wide = variance > _WIDE
        if not bool(wide.any()):
            return self._expectation(lambda k: -self.log_prob(k))
        spread = torch.where(wide, variance, 1)
        skewness = (self._failure - self._success).square() / spread
        series = 0.5 * (2 * math.pi * math.e * spread).log() - skewness / 12
        if bool(wide.all()):
            return series
        narrow = Binomial(torch.where(wide, 0, self.total_count), validate_args=False, **{self._given: self._param})
        return torch.where(wide, series, narrow.entropy())

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None, total_count: Tensor | float = 1) -> Self:
        """Maximum likelihood of `probs` for a known number of trials: the mean over that.

        Args:
            data: Counts along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
            total_count: Number of trials behind each count; a number, or broadcasting against the batch.

        Raises:
            ValueError: A draw is no whole number from 0 to `total_count`.

        Example:
            >>> Binomial.fit(torch.tensor([1.0, 3.0]), total_count=4).probs
            tensor(0.5000)
        """
        data, weights = fit_data("Binomial", data, weights)
        fitted = cls(total_count, probs=((weights * data).sum(0) / total_count).clamp(0, 1))
        fitted._check_values("data", data, fitted.support)
        return fitted

    def _rough_prob(self, k: Tensor) -> Tensor:
        n, logits = self.total_count, self._given == "logits"
        mass = quick_binomial_mass(k, n, binomial_terms(n, self._param, logits=logits, limit=ROUGH_LIMIT))
        return (log_binomial_mass(k, n, self._param, logits=logits) if mass is None else mass).exp()

    def _tail(self, function: object, value: Tensor, below: float, above: float) -> Tensor:
        k = self._checked_value(value).to(self.total_count.dtype).floor()
        inside = (k >= 0) & (k < self.total_count)
        a, b = torch.where(inside, k + 1, 1), torch.where(inside, self.total_count - k, 1)
        probability: Tensor = function(a, b, self._success, self._failure)  # type: ignore[operator]
        return torch.where(inside, probability, outside_counts(k, below, above))


_WIDE = 2.0**20
_TERMS = (partial(binomial_terms, logits=False), partial(binomial_terms, logits=True))


@register_kl(Binomial, Binomial)
def _kl_binomial_binomial(p: Binomial, q: Binomial) -> Tensor:
    alike = p.total_count == q.total_count
    same = p.total_count * binary_kl(p, q)
    if not is_eager(p.total_count, q.total_count):
        excluded = (p.total_count > q.total_count) & (p._success > 0)
        return torch.where(alike, same, torch.where(excluded, torch.inf, torch.nan))
    if bool(alike.all()):
        return same
    wide = p.expand(alike.shape)
    return torch.where(alike, same, expectation(wide, lambda k: wide.log_prob(k) - log_prob_anywhere(q, k)))
