"""Priors of a code that are learnt: a flow, a mixture, or the mixture of what an encoder makes of pseudo-data."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from posterity.bijectors import Bijector
from posterity.bijectors.softplus import softplus
from posterity.distributions import Categorical, Distribution, MixtureSameFamily, Normal, lift
from posterity.networks.latent_families import LatentFamily, through_flow

Encode = Callable[[Tensor], Distribution]


class LatentPrior(nn.Module):
    """A prior of one datum's code, with parameters of its own.

    For those who write one: implement `distribution(encode)`.
    """

    @abstractmethod
    def distribution(self, encode: Encode) -> torch.distributions.Distribution:
        """The distribution of a code, without a batch.

        Args:
            encode: The autoencoder's map from data to the distribution of their codes.
        """


class MixturePrior(LatentPrior):
    """A mixture of normal distributions with weights, means and scales of its own.

    Args:
        num_components: How many.
        latent_size: The code's size.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> MixturePrior(10, 2).distribution(None).event_shape
        torch.Size([2])
    """

    def __init__(self, num_components: int, latent_size: int) -> None:
        super().__init__()
        for name, number in (("num_components", num_components), ("latent_size", latent_size)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} of MixturePrior must be a whole number of at least 1, not {number!r}")
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, latent_size))
        self.raw_scale = nn.Parameter(torch.full((num_components, latent_size), 0.5413))

    def distribution(self, encode: Encode | None = None) -> MixtureSameFamily:
        """The mixture."""
        component = Normal(self.loc, softplus(self.raw_scale), validate_args=False).to_event(1)
        return MixtureSameFamily(Categorical(logits=self.logits, validate_args=False), component, validate_args=False)


class VampPrior(LatentPrior):
    """The mixture of the posteriors of pseudo-data, which are learnt: the prior that the encoder itself suggests.

    Args:
        pseudo_inputs: What they start from, `[num_components, *data_shape]`, such as some of the training data.

    Raises:
        TypeError: `pseudo_inputs` is no tensor of floating numbers.
        ValueError: There are none.

    Source: Tomczak and Welling (2018), "VAE with a VampPrior".
    """

    def __init__(self, pseudo_inputs: Tensor) -> None:
        super().__init__()
        if not isinstance(pseudo_inputs, Tensor) or not pseudo_inputs.is_floating_point():
            raise TypeError(
                "pseudo_inputs of VampPrior must be a tensor of floating numbers, such as data to start from"
            )
        if pseudo_inputs.dim() < 2 or not len(pseudo_inputs):
            raise ValueError(
                f"pseudo_inputs of VampPrior must be [num_components, *data_shape], but is {tuple(pseudo_inputs.shape)}"
            )
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone())
        self.logits = nn.Parameter(pseudo_inputs.new_zeros(len(pseudo_inputs)))

    def distribution(self, encode: Encode) -> MixtureSameFamily:
        """The mixture, with the encoder as it is now."""
        component = encode(self.pseudo_inputs)
        return MixtureSameFamily(Categorical(logits=self.logits, validate_args=False), component, validate_args=False)


class FlowPrior(LatentPrior):
    """What a flow makes of the family's own prior.

    Args:
        flow: A bijector of vectors of the code's size.
        noise: The prior to start from.
    """

    def __init__(self, flow: Bijector, family: LatentFamily, latent_size: int) -> None:
        super().__init__()
        self.flow = flow
        self.family, self.latent_size = family, latent_size

    def distribution(self, encode: Encode | None = None) -> Distribution:
        """The flow's image of standard normal noise."""
        like = next((p for p in self.parameters()), torch.zeros(()))
        return through_flow(self.family.prior(self.latent_size, like), self.flow)


class GivenPrior(LatentPrior):
    """A distribution, or a module that returns one."""

    def __init__(self, given: torch.distributions.Distribution | nn.Module) -> None:
        super().__init__()
        self.given = given

    def distribution(self, encode: Encode | None = None) -> Distribution:
        """The distribution."""
        found = self.given if isinstance(self.given, torch.distributions.Distribution) else self.given()
        if not isinstance(found, torch.distributions.Distribution):
            raise TypeError(
                f"prior: {type(self.given).__name__} must return a distribution when it is called, but returned a "
                f"{type(found).__name__}"
            )
        return lift(found)


class StandardPrior(LatentPrior):
    """The family's own prior."""

    def __init__(self, family: LatentFamily, latent_size: int) -> None:
        super().__init__()
        self.family, self.latent_size = family, latent_size
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def distribution(self, encode: Encode | None = None) -> Distribution:
        """The prior, where the module lives."""
        return self.family.prior(self.latent_size, self.get_buffer("like"))


def as_prior(prior: Any, family: LatentFamily, latent_size: int) -> LatentPrior:
    """A prior from what a user gave.

    Raises:
        TypeError: It is nothing that a prior can be made of.
        ValueError: A distribution over events of another size than the code's.
    """
    if prior is None:
        return StandardPrior(family, latent_size)
    if isinstance(prior, LatentPrior):
        return prior
    if isinstance(prior, Bijector):
        return FlowPrior(prior, family, latent_size)
    if isinstance(prior, torch.distributions.Distribution):
        wanted = family.prior(latent_size, torch.zeros(())).event_shape
        if prior.batch_shape or prior.event_shape != wanted:
            raise ValueError(
                f"prior must be a distribution over codes, with event_shape {tuple(wanted)} and no batch, but has "
                f"event_shape {tuple(prior.event_shape)} and batch_shape {tuple(prior.batch_shape)}: "
                "Normal(zeros, ones).to_event(1) is of this kind"
            )
        return GivenPrior(prior)
    if isinstance(prior, nn.Module):
        return GivenPrior(prior)
    raise TypeError(
        "prior must be a distribution over codes, a LatentPrior such as VampPrior, a flow, or a module that returns a "
        f"distribution, not a {type(prior).__name__}"
    )
