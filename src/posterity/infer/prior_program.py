"""A log likelihood and a prior, without a model's statements, as the program that they amount to."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from posterity.ppl import factor, sample


class PriorAndLikelihood:
    """Draw from a prior, and add a log likelihood.

    Args:
        log_likelihood: A function of one draw, a scalar in nats.
        prior: A distribution, whose draw is the site `x` and goes to the function; or distributions by name, whose
            draws go to it as a dict.

    Raises:
        TypeError: `log_likelihood` is not callable, or `prior` holds something that is no distribution.

    Example:
        >>> from posterity.distributions import Normal
        >>> from posterity.handlers import trace
        >>> program = PriorAndLikelihood(lambda x: -x, Normal(0.0, 1.0))
        >>> sorted(trace(program).get_trace())
        ['log_likelihood', 'x']
    """

    def __init__(
        self,
        log_likelihood: Callable[..., Tensor],
        prior: torch.distributions.Distribution | Mapping[str, torch.distributions.Distribution],
    ) -> None:
        if not callable(log_likelihood):
            raise TypeError(f"log_likelihood must be callable, not a {type(log_likelihood).__name__}")
        named = prior if isinstance(prior, Mapping) else {"x": prior}
        for name, distribution in named.items():
            if not isinstance(distribution, torch.distributions.Distribution):
                raise TypeError(
                    f"prior must be a distribution, or distributions by name, but {name!r} is a "
                    f"{type(distribution).__name__}"
                )
        self.log_likelihood, self.prior = log_likelihood, prior

    def __call__(self) -> None:
        """Run the program."""
        if isinstance(self.prior, Mapping):
            draws = {name: sample(name, distribution) for name, distribution in self.prior.items()}
            factor("log_likelihood", self.log_likelihood(draws))
        else:
            factor("log_likelihood", self.log_likelihood(sample("x", self.prior)))
