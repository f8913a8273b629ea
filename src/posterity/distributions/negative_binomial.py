"""The negative binomial distribution: counts more spread than Poisson's."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.binary_odds import BinaryOdds, binary_kl
from posterity.distributions.expectation import expectation
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import Source, betainc, betaincc, log_betainc, log_betaincc
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.poisson_mass import factorials_suffice, log_poisson_mass
from posterity.kernels.samplers import poisson, standard_gamma
from posterity.kernels.samplers.noise import is_eager, part, settle


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
        k, r = self._checked_value(value, support=True).to(self.total_count.dtype), self.total_count
        trials = r + k
        if factorials_suffice(trials, r, self._success, self._failure):
            count, failures = widened(k), widened(r)
            orders = torch.lgamma(failures + count) - torch.lgamma(count + 1) - torch.lgamma(failures)
            yes, no = self._wide_logarithms()
            return (orders + count * yes + failures * no).to(r.dtype)
        # Of r failures among all trials in any order, the last being a failure: r of r + k orders.
        ends = torch.where(k == 0, 1, r / torch.where(k == 0, 1, trials)).log()
        mass = log_poisson_mass(k, trials * self._success) + log_poisson_mass(r, trials * self._failure)
        return ends + mass - log_poisson_mass(trials, trials)

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
        return self._success / self._failure if self._given == "probs" else self._param.exp()

    def _tail(self, function: Any, value: Tensor, below: float, above: float) -> Tensor:
        k = self._checked_value(value).to(self.total_count.dtype).floor()
        inside = (k >= 0) & (k < torch.inf) & (self.total_count > 0)
        a, b = torch.where(inside, k + 1, 1), torch.where(inside, self.total_count, 1)
        probability: Tensor = function(a, b, self._success, self._failure)
        return torch.where(inside, probability, torch.where(k < 0, below, above))


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
