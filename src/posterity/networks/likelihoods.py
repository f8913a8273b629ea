"""What a decoder's outputs say of data: a distribution over each datum as one event."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from posterity.bijectors.softplus import softplus
from posterity.distributions import Bernoulli, Categorical, ContinuousBernoulli, Distribution, Logistic, Normal, lift
from posterity.distributions.quantized import Quantized

# The learnt noise of a likelihood starts here: one standard deviation of standardised data is 1.
_FIRST_SCALE = 0.3
# Scales stay above this: a decoder that hits a value exactly has no infinite density.
_LEAST_SCALE = 1e-4


class Likelihood(nn.Module):
    """From a decoder's outputs to a distribution over data.

    For those who write one: implement `distribution(outputs)`, and `scaled(x)` where an encoder should see data
    otherwise than they are. A plain function from outputs to a distribution serves too.
    """

    # What the data may be, and what to do if they are not, for messages.
    takes = "values that its distribution allows"
    # Whether data of an integer dtype stay as they are.
    takes_whole_numbers = False

    @abstractmethod
    def distribution(self, outputs: Any, batch_dims: int) -> torch.distributions.Distribution:
        """The distribution of data.

        Args:
            outputs: What the decoder returned, its first `batch_dims` dimensions being a batch.
            batch_dims: How many.
        """

    def scaled(self, x: Tensor) -> Tensor:
        """Data as an encoder sees them."""
        return x

    def typical(self, data: Distribution) -> Tensor:
        """What to show of a distribution over data: its mean."""
        return data.mean

    def forward(self, outputs: Any, batch_dims: int = 1) -> Distribution:
        """The distribution over data, with all dimensions after the batch as its event."""
        found = lift(self.distribution(outputs, batch_dims))
        return found.to_event(len(found.batch_shape) - batch_dims)


class BernoulliLikelihood(Likelihood):
    """Entries that are 0 or 1; the decoder returns logits, of the data's shape.

    Example:
        >>> BernoulliLikelihood()(torch.zeros(5, 1, 8, 8)).log_prob(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    takes = (
        "0 or 1: for grey values in [0, 1] draw them, x.bernoulli() in each step, or use "
        "likelihood='continuous_bernoulli'; for bytes use likelihood='discretized_logistic'"
    )

    def distribution(self, outputs: Any, batch_dims: int) -> Bernoulli:  # noqa: D102
        return Bernoulli(logits=_tensor("bernoulli", outputs))


class ContinuousBernoulliLikelihood(Likelihood):
    """Entries between 0 and 1; the decoder returns logits, of the data's shape.

    Source: Loaiza-Ganem and Cunningham (2019), "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders".
    """

    takes = "numbers in [0, 1]: divide bytes by 255"

    def distribution(self, outputs: Any, batch_dims: int) -> ContinuousBernoulli:  # noqa: D102
        return ContinuousBernoulli(logits=_tensor("continuous_bernoulli", outputs))


class GaussianLikelihood(Likelihood):
    """Real entries with normal noise.

    The decoder returns the means, of the data's shape, and the noise is one learnt number; or a pair `(means, raw)`,
    where `softplus(raw)` is the scale of each entry.
    """

    takes = "finite numbers; standardise them, for the noise starts at a scale of 0.3"

    def __init__(self) -> None:
        super().__init__()
        self.raw_scale = nn.Parameter(torch.tensor(math.log(math.expm1(_FIRST_SCALE))))

    def distribution(self, outputs: Any, batch_dims: int) -> Normal:  # noqa: D102
        loc, raw = outputs if isinstance(outputs, tuple) else (outputs, self.raw_scale)
        return Normal(_tensor("gaussian", loc), softplus(raw) + _LEAST_SCALE)


class CategoricalLikelihood(Likelihood):
    """Entries that are classes 0, 1, ...; the decoder returns logits, `[batch, classes, *data_shape]`.

    The encoder sees the classes as they are, whole numbers, and had better begin with an embedding or a one-hot map.
    """

    takes = "whole numbers from 0 to the number of classes less 1; the decoder's dimension 1 holds the classes"
    takes_whole_numbers = True

    def distribution(self, outputs: Any, batch_dims: int) -> Categorical:  # noqa: D102
        return Categorical(logits=_tensor("categorical", outputs).movedim(batch_dims, -1))

    def typical(self, data: Distribution) -> Tensor:
        """The likeliest classes."""
        return data.mode


class DiscretizedLogisticLikelihood(Likelihood):
    r"""Whole numbers 0, ..., levels - 1, such as bytes, each with the mass of a logistic density around it.

    $P(k) = \sigma((k + 1/2 - m) / s) - \sigma((k - 1/2 - m) / s)$, the two ends with all that lies beyond. The decoder
    returns `u`, of the data's shape, for m = (levels - 1) sigmoid(u) and one learnt scale; or a pair `(u, raw)`, for
    s = (levels - 1) softplus(raw). The encoder sees x / (levels - 1).

    Args:
        levels: How many values there are, at least 2.

    Source: Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow", section 5.
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2:
            raise ValueError(f"levels of DiscretizedLogisticLikelihood must be a whole number above 1, not {levels!r}")
        self.levels = levels
        self.takes = f"whole numbers from 0 to {levels - 1}, as bytes are; other levels: give levels="
        self.raw_scale = nn.Parameter(torch.tensor(math.log(math.expm1(0.1))))

    def scaled(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.to(self.raw_scale.dtype) / (self.levels - 1)

    def typical(self, data: Distribution) -> Tensor:
        """The medians: whole numbers, where the likeliest one is an end as soon as the density comes near it."""
        return data.median

    def distribution(self, outputs: Any, batch_dims: int) -> Quantized:  # noqa: D102
        place, raw = outputs if isinstance(outputs, tuple) else (outputs, self.raw_scale)
        top = self.levels - 1
        loc = top * _tensor("discretized_logistic", place).sigmoid()
        # Quantized rounds up: what lies within half a unit of k has to come out at k.
        noise = Logistic(loc - 0.5, top * (softplus(raw) + _LEAST_SCALE))
        return Quantized(noise, low=0, high=top)


class FunctionLikelihood(Likelihood):
    """A function of a user's: from the decoder's outputs to a distribution over data.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[Any], torch.distributions.Distribution]) -> None:
        super().__init__()
        self.function = function

    def distribution(self, outputs: Any, batch_dims: int) -> torch.distributions.Distribution:  # noqa: D102
        found = self.function(outputs)
        if not isinstance(found, torch.distributions.Distribution):
            raise TypeError(
                f"likelihood must return a distribution for the decoder's outputs, but returned a "
                f"{type(found).__name__}"
            )
        return found


_BY_NAME: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "categorical": CategoricalLikelihood,
    "discretized_logistic": DiscretizedLogisticLikelihood,
}


def as_likelihood(likelihood: Any) -> Likelihood:
    """A likelihood by its name, as it is, or made of a function.

    Raises:
        ValueError: There is none of that name.
        TypeError: It is none of these.
    """
    if isinstance(likelihood, str):
        if likelihood not in _BY_NAME:
            raise ValueError(f"likelihood must be one of {', '.join(map(repr, _BY_NAME))}, not {likelihood!r}")
        return _BY_NAME[likelihood]()
    if isinstance(likelihood, Likelihood):
        return likelihood
    if callable(likelihood):
        return FunctionLikelihood(likelihood)
    raise TypeError(
        "likelihood must be a name, a Likelihood, or a function from the decoder's outputs to a distribution, not a "
        f"{type(likelihood).__name__}"
    )


def _tensor(name: str, outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"likelihood {name!r} takes a tensor from the decoder, not a {type(outputs).__name__}: for other outputs "
            "give likelihood= a function of them"
        )
    return outputs
