"""The families of latent variables that an encoder can speak of: normal, binary, categorical, relaxed or not."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from posterity.bijectors import Bijector, Flow
from posterity.bijectors.softplus import softplus
from posterity.distributions import (
    Bernoulli,
    Distribution,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    TransformedDistribution,
)


class LatentFamily(ABC):
    """A family of distributions over one datum's code.

    Attributes:
        num_parameters: How many numbers each latent variable needs from the encoder.
        width: How many numbers each latent variable gives the decoder.
    """

    num_parameters = 1
    width = 1

    @abstractmethod
    def posterior(self, raw: Tensor) -> Distribution:
        """The code's distribution.

        Args:
            raw: `[..., num_parameters * latent_size]`, any real numbers.
        """

    @abstractmethod
    def prior(self, latent_size: int, like: Tensor) -> Distribution:
        """The prior of one code, without a batch, on the device and of the dtype of a tensor."""

    def flat(self, code: Tensor) -> Tensor:
        """A code as the decoder reads it, `[..., width * latent_size]`."""
        return code

    def centre(self, codes: Distribution) -> Tensor:
        """The code that stands for a posterior of this family: its mean."""
        return codes.mean


class NormalFamily(LatentFamily):
    """Independent normal variables, under a standard normal prior.

    Example:
        >>> NormalFamily().posterior(torch.zeros(5, 6)).event_shape
        torch.Size([3])
    """

    num_parameters = 2

    def posterior(self, raw: Tensor) -> Distribution:
        """Means, then the scales before the softplus, which are 1 where the encoder says 0."""
        loc, rho = raw.chunk(2, dim=-1)
        return Normal(loc, softplus(rho + _UNIT), validate_args=False).to_event(1)

    def prior(self, latent_size: int, like: Tensor) -> Distribution:
        """Standard normal."""
        return Normal(like.new_zeros(latent_size), like.new_ones(latent_size), validate_args=False).to_event(1)


class BernoulliFamily(LatentFamily):
    """Independent bits, 0 or 1 with equal probability beforehand.

    Gradients do not go through their draws: train them by `VIMCO`, `ReweightedWakeSleep` or the score function of
    `ELBO`.
    """

    def posterior(self, raw: Tensor) -> Distribution:
        """Logits."""
        return Bernoulli(logits=raw, validate_args=False).to_event(1)

    def prior(self, latent_size: int, like: Tensor) -> Distribution:
        """Even odds."""
        return Bernoulli(logits=like.new_zeros(latent_size), validate_args=False).to_event(1)


class RelaxedBernoulliFamily(LatentFamily):
    """Numbers between 0 and 1 that stand for bits, and through which gradients go.

    Args:
        temperature: That of posterior and prior; towards 0 they become bits, and gradients noisy.

    Source: Maddison, Mnih and Teh (2017), "The Concrete distribution".
    """

    def __init__(self, temperature: float = 0.5) -> None:
        self.temperature = _positive(type(self).__name__, temperature)

    def posterior(self, raw: Tensor) -> Distribution:
        """Logits."""
        return RelaxedBernoulli(raw.new_tensor(self.temperature), logits=raw, validate_args=False).to_event(1)

    def prior(self, latent_size: int, like: Tensor) -> Distribution:
        """Even odds at the same temperature."""
        return self.posterior(like.new_zeros(latent_size))


class CategoricalFamily(LatentFamily):
    """Independent one-hot vectors, all classes with equal probability beforehand.

    Args:
        num_categories: Of each latent variable.
    """

    def __init__(self, num_categories: int) -> None:
        if isinstance(num_categories, bool) or not isinstance(num_categories, int) or num_categories < 2:
            raise ValueError(
                f"num_categories of {type(self).__name__} must be a whole number above 1, not {num_categories!r}"
            )
        self.num_categories = self.num_parameters = self.width = num_categories

    def posterior(self, raw: Tensor) -> Distribution:
        """Logits, class after class for each variable."""
        return OneHotCategorical(logits=self._split(raw), validate_args=False).to_event(1)

    def prior(self, latent_size: int, like: Tensor) -> Distribution:
        """Even odds."""
        return self.posterior(like.new_zeros(latent_size * self.num_categories))

    def flat(self, code: Tensor) -> Tensor:
        """The vectors one after the other."""
        return code.flatten(-2)

    def _split(self, raw: Tensor) -> Tensor:
        return raw.reshape(*raw.shape[:-1], -1, self.num_categories)


class RelaxedCategoricalFamily(CategoricalFamily):
    """Points of the simplex that stand for one-hot vectors, and through which gradients go.

    Args:
        num_categories: Of each latent variable.
        temperature: That of posterior and prior.

    Source: Jang, Gu and Poole (2017), "Categorical reparameterization with Gumbel-softmax".
    """

    def __init__(self, num_categories: int, temperature: float = 0.5) -> None:
        super().__init__(num_categories)
        self.temperature = _positive(type(self).__name__, temperature)

    def posterior(self, raw: Tensor) -> Distribution:
        """Logits, class after class for each variable."""
        temperature = raw.new_tensor(self.temperature)
        return RelaxedOneHotCategorical(temperature, logits=self._split(raw), validate_args=False).to_event(1)

    def centre(self, codes: Distribution) -> Tensor:
        """The classes' probabilities, which the mean is near to and has no formula for."""
        return cast(Tensor, codes.base_dist.logits.softmax(-1))  # type: ignore[attr-defined]


_BY_NAME: dict[str, Callable[[], LatentFamily]] = {
    "normal": NormalFamily,
    "bernoulli": BernoulliFamily,
    "relaxed_bernoulli": RelaxedBernoulliFamily,
}
_UNIT = math.log(math.expm1(1.0))


def as_family(posterior: Any) -> LatentFamily:
    """A family by its name, or as it is; that of the noise of a flow is normal.

    Raises:
        ValueError: There is none of that name.
        TypeError: It is none of these.
    """
    if isinstance(posterior, Flow) or (isinstance(posterior, Bijector) and isinstance(posterior, torch.nn.Module)):
        return NormalFamily()
    if isinstance(posterior, str):
        if posterior not in _BY_NAME:
            raise ValueError(
                f"posterior must be one of {', '.join(map(repr, _BY_NAME))}, a LatentFamily such as "
                f"CategoricalFamily(10), or a flow; not {posterior!r}"
            )
        return _BY_NAME[posterior]()
    if isinstance(posterior, LatentFamily):
        return posterior
    raise TypeError(f"posterior must be a name, a LatentFamily or a flow, not a {type(posterior).__name__}")


def through_flow(noise: Distribution, flow: Bijector, context: Tensor | None = None) -> Distribution:
    """What a flow makes of noise, at a context where the flow takes one.

    It remembers its latest draw, so that the draw's density costs no inversion of the flow.
    """
    at_context = flow.condition(context) if context is not None else flow  # type: ignore[attr-defined]
    return TransformedDistribution(noise, [cast(Bijector, at_context).with_cache()], validate_args=False)


def _positive(owner: str, temperature: float) -> float:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature of {owner} must be positive, not {temperature!r}")
    return float(temperature)
