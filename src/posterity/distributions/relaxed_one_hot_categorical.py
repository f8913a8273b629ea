"""Relaxed one-hot vectors, on the simplex and as their logarithms, whose draws are smooth in the parameters."""

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.categorical import Categorical
from posterity.distributions.parameters import beside, broadcast_shapes
from posterity.kernels import Source
from posterity.kernels.samplers import gumbel


class ExpRelaxedOneHotCategorical(Distribution):
    r"""The logarithm of a relaxed one-hot vector: log softmax((logits + Gumbel noise) / temperature), of shape `[K]`.

    In log space no entry underflows, however low the temperature; the density is that of K - 1 of the entries.

    Args:
        temperature: Positive; its shape broadcasts against the batch.
        probs: Non-negative weights of the classes, `[*batch_shape, K]`; they are normalised to sum to 1.
        logits: Unnormalised log weights, `[*batch_shape, K]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given of `probs` and `logits` is not a real tensor.
        ValueError: Both or neither are given, there is no class dimension, shapes do not broadcast, or a value
            violates its constraint.

    Source: Maddison, Mnih and Teh, The Concrete Distribution, 2017, equation 26, https://arxiv.org/abs/1611.00712

    Example:
        >>> d = ExpRelaxedOneHotCategorical(0.01, logits=torch.zeros(3))
        >>> y = d.rsample(generator=torch.Generator().manual_seed(0))
        >>> y.isfinite().all(), y.logsumexp(-1).abs() < 1e-6
        (tensor(True), tensor(True))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "temperature": constraints.positive,
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }
    support = constraints.real_vector
    has_rsample = True

    temperature: Tensor

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        classes = Categorical(probs, logits, validate_args=validate_args)
        like = classes._param
        heat = beside(type(self).__name__, "temperature", temperature, like)
        shape = broadcast_shapes(
            f"batch shapes of the parameters of {type(self).__name__}",
            temperature=heat.shape,
            **{"probs" if logits is None else "logits": classes.batch_shape},
        )
        self._categorical = classes.expand(shape)
        self.temperature = heat.expand(shape)
        Distribution.__init__(self, shape, like.shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        """Normalised weights, `[*batch_shape, K]`."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Normalised log weights, `[*batch_shape, K]`."""
        return self._categorical.logits

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new._categorical = self._categorical.expand(batch_shape)
        new.temperature = self.temperature.expand(batch_shape)
        new._batch_shape = batch_shape
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        return self._log_density(self._checked_value(value, support=True))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`."""
        like = self.temperature
        noise = gumbel(self._extended_shape(sample_shape), source=generator, like=like).to(like.dtype)
        return ((self.logits + noise) / self.temperature.unsqueeze(-1)).log_softmax(-1)

    def _log_density(self, log_value: Tensor) -> Tensor:
        num = self.event_shape[-1]
        scores = (self.logits - self.temperature.unsqueeze(-1) * log_value).log_softmax(-1)
        return math.lgamma(num) + (num - 1) * self.temperature.log() + scores.sum(-1)

    def _like(self) -> Tensor:
        return self.temperature


class RelaxedOneHotCategorical(ExpRelaxedOneHotCategorical):
    """The relaxed one-hot vector softmax((logits + Gumbel noise) / temperature) on the simplex, of shape `[K]`.

    Draws are kept off the boundary: entries that underflow are the dtype's least normal number. At low temperatures
    `ExpRelaxedOneHotCategorical` loses nothing.

    Args:
        temperature: Positive; its shape broadcasts against the batch.
        probs: Non-negative weights of the classes, `[*batch_shape, K]`; they are normalised to sum to 1.
        logits: Unnormalised log weights, `[*batch_shape, K]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given of `probs` and `logits` is not a real tensor.
        ValueError: Both or neither are given, there is no class dimension, shapes do not broadcast, or a value
            violates its constraint.

    Source: Maddison, Mnih and Teh, The Concrete Distribution, 2017, equation 10, https://arxiv.org/abs/1611.00712

    Example:
        >>> d = RelaxedOneHotCategorical(1.0, probs=torch.tensor([0.5, 0.5]))
        >>> d.log_prob(torch.tensor([0.3, 0.7])).abs() < 1e-6  # uniform
        tensor(True)
    """

    support = constraints.simplex  # type: ignore[assignment]  # another space

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        log_value = self._checked_value(value, support=True).log()
        return self._log_density(log_value) - log_value.sum(-1)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`, with no entry of 0."""
        return (
            super().rsample(sample_shape, generator=generator).exp().clamp(min=torch.finfo(self.temperature.dtype).tiny)
        )
