"""The Bernoulli distribution of one yes-or-no event."""

from typing import Self, cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.distributions.binary_odds import BinaryOdds, binary_entropy, binary_kl
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.kernels import Source
from posterity.kernels.elementwise import in_blocks
from posterity.kernels.reading import is_constant
from posterity.kernels.samplers.noise import noise, settle


class Bernoulli(BinaryOdds, torch.distributions.Bernoulli):
    """The distribution of 1, with probability `probs`, or 0.

    Args:
        probs: Probability of 1, in [0, 1]. Give this or `logits`.
        logits: Log odds of 1; infinite where it is certain or impossible.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given is neither a number nor a real tensor.
        ValueError: Both or neither are given, or probabilities lie outside [0, 1].

    Source: Johnson, Kemp and Kotz, Univariate Discrete Distributions, 2005, section 3.2.

    Example:
        >>> Bernoulli(logits=torch.tensor(50.0)).log_prob(torch.tensor([0.0, 1.0]))
        tensor([-5.0000e+01, -1.9287e-22])
    """

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise_odds(probs, logits, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True).to(self._param.dtype)
        if self._given == "logits" and is_constant(value):
            mass = in_blocks(lambda x, logits: logsigmoid((2 * x - 1) * logits), value, self._param)
        elif self._is_uncertain():
            mass = in_blocks(self._chosen_logarithm, value, self._param)
        else:
            mass = self._log_odds_mass(value, 1 - value)
        return self._inside_only(value, mass)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self._stepped(value, 0, self._failure, 1)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return self._stepped(value, -torch.inf, self._log_odds_mass(0.0, 1.0), 0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return self._stepped(value, 1, self._success, 0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return self._stepped(value, 0, self._log_odds_mass(1.0, 0.0), -torch.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """The least of 0 and 1 at which the cdf reaches the probability `value`."""
        return (self._checked_level(value) > self._failure).to(self._param.dtype)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Zeros and ones of shape `sample_shape + batch_shape`; probabilities are resolved to 1e-14 from both ends."""
        if self._is_moderate(generator):
            chance, source = self._success.detach(), cast(torch.Generator | None, generator)
            if not sample_shape and chance.numel() <= _FEW:
                return torch.bernoulli(chance, generator=source)
            return chance.new_empty(self._extended_shape(sample_shape)).uniform_(generator=source).lt_(chance)
        with torch.no_grad():
            rare = torch.minimum(self._success, self._failure)
            level = noise(settle(generator, rare), self._extended_shape(sample_shape), rare).uniform()
            return torch.where(self._success <= self._failure, level < rare, level >= rare).to(rare.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Both values, `[2, *batch_shape]`, or `[2, 1, ...]` without `expand`."""
        like = self._param
        values = torch.arange(2, dtype=like.dtype, device=like.device).reshape((-1,) + (1,) * len(self.batch_shape))
        return values.expand((-1, *self.batch_shape)) if expand else values

    @property
    def mean(self) -> Tensor:
        """`probs`."""
        return self._success

    @property
    def variance(self) -> Tensor:
        """`probs * (1 - probs)`."""
        return self._success * self._failure

    @property
    def mode(self) -> Tensor:
        """The more probable value; 0 of two that are equally so."""
        return (self._success > self._failure).to(self._param.dtype)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return binary_entropy(self)

    def _chosen_logarithm(self, value: Tensor, given: Tensor) -> Tensor:
        yes, no = self._logarithms(given)
        return no.lerp(yes, value)

    def _stepped(self, value: Tensor, below: float, inside: Tensor, above: float) -> Tensor:
        """A statistic that changes at 0 and at 1."""
        value = self._checked_value(value)
        steps = torch.where(value < 0, below, torch.where(value < 1, inside, above))
        return torch.where(value.isnan(), torch.nan, steps)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the frequency of 1.

        Args:
            data: Zeros and ones along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is neither 0 nor 1.

        Example:
            >>> Bernoulli.fit(torch.tensor([0.0, 1.0, 1.0, 1.0])).probs
            tensor(0.7500)
        """
        data, weights = fit_data("Bernoulli", data, weights)
        fitted = cls(probs=(weights * (data != 0)).sum(0).clamp(max=1))
        fitted._check_values("data", data, cls.support)
        return fitted


# Of more draws, a comparison with uniform numbers is several times faster than torch.bernoulli.
_FEW = 100


@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    return binary_kl(p, q)
