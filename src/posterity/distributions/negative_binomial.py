"""The negative binomial distribution: counts more spread than Poisson's."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.binary_odds import BinaryOdds, binary_kl
from posterity.distributions.counts import outside_counts
from posterity.distributions.expectation import expectation
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, betainc, betaincc, log_betainc, log_betaincc
from posterity.kernels.binomial_mass import (
    log_negative_binomial_mass,
    negative_binomial_terms,
    quick_negative_binomial_mass,
)
from posterity.kernels.reading import lies_within, readable, records_gradient
from posterity.kernels.samplers import poisson, standard_gamma
from posterity.kernels.samplers.noise import is_eager, part, settle
from posterity.kernels.samplers.parameters import is_direct


class NegativeBinomial(BinaryOdds, torch.distributions.NegativeBinomial):
    r"""The number of successes before r failures, with mass $\frac{\Gamma(r+k)}{k!\,\Gamma(r)} (1-p)^r p^k$.

    A Poisson count whose rate is drawn from Gamma(r, rate=(1 - p) / p). The KL between different total counts is
    summed; where that cannot be (in graphs, under `vmap`) it is NaN.

    Args:
        total_count: Number of failures r, at least 0, whole or not.
        probs: Probability p of a success, in [0, 1). Give this or `logits`.
        logits: Log odds of a success.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Both or neither of `probs` and `logits` are given, shapes do not broadcast, or a value violates
            its constraint.

    Source: Johnson, Kemp and Kotz, Univariate Discrete Distributions, 2005, chapter 5; the cdf is DLMF 8.17.5.

    Example:
        >>> d = NegativeBinomial(2.5, probs=0.4)
        >>> d.mean, d.cdf(1.0)
        (tensor(1.6667), tensor(0.5577))
    """

    total_count: Tensor

    def __init__(
        self,
        total_count: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise_odds(probs, logits, {"total_count": total_count}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value` successes, of shape `sample_shape + batch_shape`."""
        k, logits = self._checked_value(value).to(self.total_count.dtype), self._given == "logits"
        terms = remembered(self, _TERMS[logits], self.total_count, self._param)
        mass = quick_negative_binomial_mass(k, self.total_count, terms)
        if mass is None:
            self._checked_value(value, support=True)
            mass = self._inside_only(k, log_negative_binomial_mass(k, self.total_count, self._param, logits=logits))
        return mass

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return self._tail(betaincc, value, 0.0, 1.0)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return self._tail(log_betaincc, value, -torch.inf, 0.0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return self._tail(betainc, value, 1.0, 0.0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return self._tail(log_betainc, value, 0.0, -torch.inf)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape`: Poisson draws of gamma rates."""
        r = self.total_count
        direct = is_direct(generator, r) and readable(r) and not records_gradient(r, self._param)
        if direct and lies_within(r, 0.0, torch.inf):
            odds = remembered(self, _ODDS[self._given], self._param)
            return poisson(standard_gamma(r, sample_shape, source=generator).mul_(odds), source=generator)
        with torch.no_grad():
            some = self.total_count > 0
            source = settle(generator, self.total_count)
            shape = torch.where(some, self.total_count, 1)
            rate = standard_gamma(shape, sample_shape, source=part(source, 0)) * (self._success / self._failure)
            return poisson(torch.where(some, rate, 0), source=part(source, 1))

    @property
    def mean(self) -> Tensor:
        """`total_count * probs / (1 - probs)`."""
        return self.total_count * self._odds

    @property
    def variance(self) -> Tensor:
        """`total_count * probs / (1 - probs)^2`."""
        return self.mean / self._failure

    @property
    def mode(self) -> Tensor:
        """The most probable count; the greater of two that are equally so."""
        return ((self.total_count - 1) * self._odds).floor().clamp(min=0)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None, total_count: Tensor | float | None = None) -> Self:
        """Maximum likelihood: of `probs` for a known `total_count`, or of both by a search.

        Args:
            data: Counts along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
            total_count: Number of failures, if it is known; a number, or broadcasting against the batch.

        Raises:
            ValueError: A draw is no whole number of at least 0.
            ArithmeticError: `total_count` is not given and the search does not converge: where the data spread no
                more than Poisson's, the likelihood has no maximum.

        Example:
            >>> NegativeBinomial.fit(torch.tensor([1.0, 5.0]), total_count=3.0).probs
            tensor(0.5000)
        """
        if total_count is None:
            return super().fit(data, weights)
        data, weights = fit_data("NegativeBinomial", data, weights)
        mean = (weights * data).sum(0).abs()
        fitted = cls(total_count, probs=mean / (mean + total_count))
        fitted._check_values("data", data, cls.support)
        return fitted

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        mean = (weights * data).sum(0).clamp(min=1e-3)
        excess = ((weights * (data - mean).square()).sum(0) - mean).clamp(min=0.01 * mean)
        return {"total_count": mean.square() / excess, "logits": (excess / mean).log()}

    @property
    def _odds(self) -> Tensor:
        return _ODDS[self._given](self._param)

    def _tail(self, function: Any, value: Tensor, below: float, above: float) -> Tensor:
        k = self._checked_value(value).to(self.total_count.dtype).floor()
        inside = (k >= 0) & (k < torch.inf) & (self.total_count > 0)
        a, b = torch.where(inside, k + 1, 1), torch.where(inside, self.total_count, 1)
        probability: Tensor = function(a, b, self._success, self._failure)
        return torch.where(inside, probability, outside_counts(k, below, above))


_ODDS: dict[str, Callable[[Tensor], Tensor]] = {"probs": lambda p: p / (1 - p), "logits": torch.exp}
_TERMS = (partial(negative_binomial_terms, logits=False), partial(negative_binomial_terms, logits=True))


@register_kl(NegativeBinomial, NegativeBinomial)
def _kl_negative_binomial_negative_binomial(p: NegativeBinomial, q: NegativeBinomial) -> Tensor:
    alike = p.total_count == q.total_count
    same = p.total_count * binary_kl(p, q) / p._failure
    if not is_eager(p.total_count, q.total_count):
        return torch.where(alike, same, torch.nan)
    if bool(alike.all()):
        return same
    wide = p.expand(alike.shape)
    return torch.where(alike, same, expectation(wide, lambda k: wide.log_prob(k) - q.log_prob(k)))
