"""The beta-binomial distribution: binomial counts whose probability is itself random."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.counts import BoundedCount
from posterity.distributions.fitting import fit_data, maximum_likelihood
from posterity.kernels import Source
from posterity.kernels.incomplete_beta import log_beta_density, widened
from posterity.kernels.poisson_mass import log_poisson_mass
from posterity.kernels.samplers import binomial, log_standard_gamma
from posterity.kernels.samplers.noise import part, settle


class BetaBinomial(BoundedCount):
    r"""The number of successes among n trials at a probability drawn from Beta(a, b).

    The mass is $\binom{n}{k} B(k + a, n - k + b) / B(a, b)$.

    Args:
        concentration1: a, positive; large where successes are probable.
        concentration0: b, positive; large where failures are.
        total_count: Number of trials n, a whole number of at least 0.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kemp and Kotz, Univariate Discrete Distributions, 2005, section 6.2.2.

    Example:
        >>> d = BetaBinomial(1.0, 1.0, total_count=4)
        >>> d.prob(torch.arange(5.0)), d.mean
        (tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000]), tensor(2.))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "total_count": constraints.nonnegative_integer,
    }

    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        total_count: Tensor | float = 1,
        validate_args: bool | None = None,
    ) -> None:
        self._initialise(
            {"concentration1": concentration1, "concentration0": concentration0, "total_count": total_count},
            validate_args=validate_args,
        )

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """0, ..., `total_count`."""
        return constraints.integer_interval(0, self.total_count)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of `value` successes, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        k, n, a, b = torch.broadcast_tensors(
            *(widened(t) for t in (value, self.total_count, self.concentration1, self.concentration0))
        )
        # Likelihood times prior over posterior is the same at every probability; at the posterior mean none of the
        # three is extreme (Besag, A Candidate's Formula, 1989).
        total = a + b + n
        x, y = ((a + k) / total).detach(), ((b + n - k) / total).detach()
        likelihood = log_poisson_mass(k, n * x) + log_poisson_mass(n - k, n * y) - log_poisson_mass(n, n)
        prior, posterior = log_beta_density(a, b, x, y), log_beta_density(a + k, b + n - k, x, y)
        return self._inside_only(value, (likelihood + prior - posterior).to(self.concentration1.dtype))

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Counts of shape `sample_shape + batch_shape`."""
        with torch.no_grad():
            source = settle(generator, self.concentration1)
            both = torch.stack([self.concentration1, self.concentration0], dim=-1)
            log_gamma = log_standard_gamma(both, sample_shape, source=part(source, 0))
            log_odds = log_gamma[..., 0] - log_gamma[..., 1]
            # The rarer of the two outcomes is drawn: near 1 a probability has lost its digits.
            drawn = binomial(self.total_count, torch.sigmoid(-log_odds.abs()), source=part(source, 1))
            return torch.where(log_odds <= 0, drawn, self.total_count - drawn)

    @property
    def mean(self) -> Tensor:
        """`total_count * concentration1 / (concentration1 + concentration0)`."""
        return self.total_count * self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        """`n p (1 - p) (a + b + n) / (a + b + 1)` with p = a / (a + b)."""
        a, b, n = self.concentration1, self.concentration0, self.total_count
        return n * (a / (a + b)) * (b / (a + b)) * ((a + b + n) / (a + b + 1))

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None, total_count: Tensor | float = 1) -> Self:
        """Maximum likelihood of the concentrations for a known number of trials, by a search.

        Args:
            data: Counts along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
            total_count: Number of trials behind each count; a number, or broadcasting against the batch.

        Raises:
            ValueError: A draw is no whole number from 0 to `total_count`.
            ArithmeticError: The search did not converge: where the data spread no more than binomial ones, the
                likelihood has no maximum.
        """
        data, weights = fit_data("BetaBinomial", data, weights)
        n = torch.as_tensor(total_count, dtype=data.dtype, device=data.device).expand(data.shape[1:])
        cls(n.new_ones(()), n.new_ones(()), n)._check_values("data", data, constraints.integer_interval(0, n))

        class Member(cls):  # type: ignore[misc, valid-type]
            def __init__(self, **concentrations: Any) -> None:
                cls.__init__(self, total_count=n.double(), **concentrations)

            def log_prob(self, value: Tensor) -> Tensor:
                # Several times faster than the form that keeps the last digits.
                a, b = self.concentration1, self.concentration0
                return _log_beta(a + value, b + n - value) - _log_beta(a, b)

        Member.__name__ = cls.__name__
        rate = ((weights * data).sum(0) / n.clamp(min=1)).clamp(0.01, 0.99)
        spread = (weights * (data - n * rate).square()).sum(0) / (n * rate * (1 - rate)).clamp(min=0.1)
        # The variance is that of the binomial times 1 + (n - 1) / (a + b + 1).
        total = ((n - spread) / (spread - 1).clamp(min=0.01)).clamp(0.1, 1e3)
        start = {"concentration1": total * rate, "concentration0": total * (1 - rate)}
        found = maximum_likelihood(Member, data, weights, start)
        return cls(found.concentration1.to(data.dtype), found.concentration0.to(data.dtype), n)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
