"""The geometric distribution of failures before the first success."""

from collections.abc import Callable
from typing import Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.distributions.binary_odds import BinaryOdds, binary_entropy, binary_kl
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, log1mexp
from posterity.kernels.elementwise import in_blocks
from posterity.kernels.samplers import exponential
from posterity.kernels.tracing import expm1


class Geometric(BinaryOdds, torch.distributions.Geometric):
    r"""The number of failures before the first success, with mass $p (1-p)^k$ on k = 0, 1, ....

    Args:
        probs: Probability p of a success, in (0, 1]. Give this or `logits`.
        logits: Log odds of a success.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given is neither a number nor a real tensor.
        ValueError: Both or neither are given, or probabilities lie outside (0, 1].

    Source: Johnson, Kemp and Kotz, Univariate Discrete Distributions, 2005, section 5.2.

    Example:
        >>> d = Geometric(probs=torch.tensor(0.25))
        >>> d.mean, d.survival_function(1.0)
        (tensor(3.), tensor(0.5625))
    """

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise_odds(probs, logits, validate_args=validate_args)
        if self._given == "probs":
            self._check_values("probs", self.probs, constraints.positive)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value` failures, of shape `sample_shape + batch_shape`."""
        k = self._checked_value(value, support=True).to(self._param.dtype)
        mass = in_blocks(self._trials, k, self._param) if self._is_uncertain() else self._log_odds_mass(1.0, k)
        return self._inside_only(k, mass)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        return -expm1(self.log_survival_function(value))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return log1mexp(-self.log_survival_function(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        return self.log_survival_function(value).exp()

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), `(value + 1) log(1 - probs)`."""
        trials = (self._checked_value(value).to(self._param.dtype).floor() + 1).clamp(min=0)
        return self._log_odds_mass(torch.zeros_like(trials), trials)

    def icdf(self, value: Tensor) -> Tensor:
        """The least count of failures whose cdf reaches the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        with torch.no_grad():
            found = (torch.log1p(-level) / self._log_odds_mass(0.0, 1.0)).ceil() - 1
            found = torch.where(found >= 0, found, 0)
            # The quotient's rounding may be one step off, either way.
            short = self._short(found, level)
            before = (found > 0) & ~self._short((found - 1).clamp(min=0), level)
            found = torch.where(found.isinf(), found, found + short.to(found.dtype) - before.to(found.dtype))
            return torch.where(level == 1, torch.where(self._failure > 0, torch.inf, 0), found)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape`: whole parts of exponential waiting times."""
        if self._is_moderate(generator):
            step = remembered(self, _LOG_FAILURE[self._given], self._param)
            level = step.new_empty(self._extended_shape(sample_shape))
            # As `_open_uniform`, without its case distinctions.
            level.uniform_(torch.finfo(step.dtype).eps / 8, 1.0, generator=cast(torch.Generator | None, generator))
            return level.log_().div_(step).floor_()
        with torch.no_grad():
            rate = -self._log_odds_mass(0.0, 1.0)
            waiting = exponential(self._extended_shape(sample_shape), source=generator, like=rate)
            return (waiting.to(rate.dtype) / rate).floor().clamp(max=torch.finfo(rate.dtype).max)

    @property
    def mean(self) -> Tensor:
        """`(1 - probs) / probs`."""
        return self._failure / self._success if self._given == "probs" else (-self._param).exp()

    @property
    def variance(self) -> Tensor:
        """`(1 - probs) / probs^2`."""
        return self.mean / self._success

    @property
    def mode(self) -> Tensor:
        """0."""
        return torch.zeros_like(self._param)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return binary_entropy(self) / self._success

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: one over one plus the mean.

        Args:
            data: Counts of failures along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is no whole number of at least 0.

        Example:
            >>> Geometric.fit(torch.tensor([2.0, 4.0])).probs
            tensor(0.2500)
        """
        data, weights = fit_data("Geometric", data, weights)
        fitted = cls(probs=1 / (1 + (weights * data).sum(0).abs()))
        fitted._check_values("data", data, cls.support)
        return fitted

    def _trials(self, failures: Tensor, given: Tensor) -> Tensor:
        yes, no = self._logarithms(given)
        return torch.addcmul(yes, failures, no)

    def _short(self, count: Tensor, level: Tensor) -> Tensor:
        return torch.where(level < 0.5, self.cdf(count) < level, self.survival_function(count) > 1 - level)


_LOG_FAILURE: dict[str, Callable[[Tensor], Tensor]] = {
    "probs": lambda probs: torch.log1p(-probs.detach()),
    "logits": lambda logits: logsigmoid(-logits.detach()),
}


@register_kl(Geometric, Geometric)
def _kl_geometric_geometric(p: Geometric, q: Geometric) -> Tensor:
    return binary_kl(p, q) / p._success
