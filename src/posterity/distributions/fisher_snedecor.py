"""The F-distribution of Fisher and Snedecor: ratios of mean squares."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.beta import MODERATE, log_beta
from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.quantiles import follow_quantile
from posterity.distributions.remembered import remembered
from posterity.kernels import Source, betainc, betaincc, log_betainc, log_betaincc
from posterity.kernels.incomplete_beta import log_beta_density, widened
from posterity.kernels.inverse_incomplete_beta import quantile_log_odds
from posterity.kernels.reading import all_finite, lies_within, readable
from posterity.kernels.samplers import log_standard_gamma
from posterity.kernels.samplers.gamma_sampler import gamma_ratio_terms
from posterity.kernels.stirling import HALF_LOG_TAU, log_minus_digamma, stirling_error


class FisherSnedecor(Distribution, torch.distributions.FisherSnedecor):
    r"""The F-distribution: of $(X_1 / df_1) / (X_2 / df_2)$ for independent chi-squared variables.

    Args:
        df1: Degrees of freedom above, positive; any shape that broadcasts against `df2`.
        df2: Degrees of freedom below, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, chapter 27.

    Example:
        >>> d = FisherSnedecor(3.0, 10.0)
        >>> d.mean, d.survival_function(1000.0)
        (tensor(1.2500), tensor(1.0941e-12))
    """

    support = constraints.nonnegative  # type: ignore[assignment]  # where torch leaves out 0

    df1: Tensor
    df2: Tensor

    def __init__(self, df1: Tensor | float, df2: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"df1": df1, "df2": df2}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        if readable(value, self.df1):
            terms = remembered(self, _moderate_terms, self.df1, self.df2)
            if terms is not None and all_finite(density := _moderate_density(terms, value)):
                return density
        a, b, u, complement, _ = self._as_beta(value)
        # du / dx is the ratio df1 / df2 times the square of the complement.
        density = log_beta_density(a, b, u, complement.detach()) + (a / b).log() + 2 * complement.log()
        return self._inside_only(value, torch.where(value == torch.inf, -torch.inf, density).to(self._dtype(value)))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        a, b, u, complement, dtype = self._as_beta(value)
        return betainc(a, b, u, complement).to(dtype)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        a, b, u, complement, dtype = self._as_beta(value)
        return log_betainc(a, b, u, complement).to(dtype)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        a, b, u, complement, dtype = self._as_beta(value)
        return betaincc(a, b, u, complement).to(dtype)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        a, b, u, complement, dtype = self._as_beta(value)
        return log_betaincc(a, b, u, complement).to(dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]; gradients by the implicit function theorem."""
        level = self._checked_level(value)
        with torch.no_grad():
            a, b, p = torch.broadcast_tensors(0.5 * widened(self.df1), 0.5 * widened(self.df2), widened(level))
            inner = ((b / a) * quantile_log_odds(a, b, p, 1 - p).exp()).to(self._dtype(level))
            root = torch.where(level == 0, 0, torch.where(level == 1, torch.inf, inner))
        return follow_quantile(self, root, level)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Ratios of gamma draws, with implicit gradients through both; positive and finite."""
        shape = self._extended_shape(sample_shape)
        if (gammas := gamma_ratio_terms(0.5 * self.df1, 0.5 * self.df2, shape, generator)) is not None:
            above, below = gammas
            info = torch.finfo(above.dtype)
            return above.div_(below).mul_(self.df2 / self.df1).clamp_(info.tiny, info.max)
        halves = 0.5 * torch.stack([self.df1, self.df2], dim=-1)
        log_gamma = log_standard_gamma(halves, tuple(sample_shape), source=generator) - halves.log()
        info = torch.finfo(halves.dtype)
        log_ratio = log_gamma[..., 0] - log_gamma[..., 1]
        return log_ratio.exp().clamp(info.tiny, info.max)

    @property
    def mean(self) -> Tensor:
        """`df2 / (df2 - 2)`, infinite for `df2` up to 2."""
        return (self.df2 / (self.df2 - 2).clamp(min=0)).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        """Infinite for `df2` up to 4."""
        ratio = self.df2 / (self.df2 - 2)
        return 2 * ratio.square() * ((self.df1 + self.df2 - 2) / self.df1) / (self.df2 - 4).clamp(min=0)

    @property
    def mode(self) -> Tensor:
        """0 for `df1` up to 2."""
        return (1 - 2 / self.df1).clamp(min=0) * (self.df2 / (self.df2 + 2))

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        a, b = 0.5 * self.df1, 0.5 * self.df2
        n = a + b
        logs = 0.5 * ((n / a).log() - b.log()) + HALF_LOG_TAU
        errors = stirling_error(a) + stirling_error(b) - stirling_error(n)
        return (
            logs + errors + (a - 1) * log_minus_digamma(a) + (b + 1) * log_minus_digamma(b) - n * log_minus_digamma(n)
        )

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        cls(data.new_ones(()), 1.0)._check_values("data", data, constraints.positive)
        refuse_constant("FisherSnedecor", data, weights)
        start = torch.full_like((weights * data).sum(0), 5.0)
        return {"df1": start, "df2": start}

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _dtype(self, value: Tensor) -> torch.dtype:
        return torch.promote_types(value.dtype, self.df1.dtype)

    def _as_beta(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, torch.dtype]:
        """Half the degrees of freedom, the beta variable u and 1 - u, all in double precision, and the dtype asked."""
        value = self._checked_value(value)
        a, b, x = torch.broadcast_tensors(0.5 * widened(self.df1), 0.5 * widened(self.df2), widened(value))
        ratio = (a / b) * x.clamp(0, 1e300)
        complement = 1 / (1 + ratio)
        # Each form where its derivative subtracts nothing.
        return a, b, torch.where(ratio < 1, ratio / (1 + ratio), 1 - complement), complement, self._dtype(value)


class _ModerateTerms(NamedTuple):
    """What the log density of moderate degrees of freedom takes from them, in double precision."""

    ratio: Tensor
    exponent: Tensor
    power: Tensor
    constant: Tensor


def _moderate_terms(df1: Tensor, df2: Tensor) -> _ModerateTerms | None:
    """These terms, or None where they are too large, or cannot be read."""
    if not readable(df1, df2) or not all(lies_within(df, 0.0, 2 * MODERATE[df.dtype]) for df in (df1, df2)):
        return None
    a, b = 0.5 * widened(df1), 0.5 * widened(df2)
    ratio = a / b
    return _ModerateTerms(ratio, a - 1, -(a + b), a * ratio.log() - log_beta(a, b))


def _moderate_density(terms: _ModerateTerms, value: Tensor) -> Tensor:
    """The log density inside the support for moderate degrees of freedom; not finite at 0 and outside."""
    x = widened(value)
    density = torch.addcmul(terms.constant, terms.exponent, x.log())
    return density.addcmul_(terms.power, (terms.ratio * x).log1p_()).to(value.dtype)
