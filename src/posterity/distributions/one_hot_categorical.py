"""The categorical distribution over one-hot vectors."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.categorical import Categorical
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import kl_divergence, register_kl
from posterity.kernels import Source
from posterity.kernels.samplers import categorical


class OneHotCategorical(Distribution, torch.distributions.OneHotCategorical):
    """A distribution over the K unit vectors, of event shape `[K]`.

    Args:
        probs: Non-negative weights of the classes, `[*batch_shape, K]`; they are normalised to sum to 1.
        logits: Unnormalised log weights, `[*batch_shape, K]`; minus infinity excludes a class.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given is not a real tensor.
        ValueError: Both or neither of `probs` and `logits` are given, or there is no class dimension, or weights are
            negative, NaN, infinite or all zero.

    Example:
        >>> d = OneHotCategorical(probs=torch.tensor([0.5, 0.25, 0.25]))
        >>> d.log_prob(torch.tensor([1.0, 0.0, 0.0])), d.mode
        (tensor(-0.6931), tensor([1., 0., 0.]))
    """

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        shape = self._categorical.batch_shape
        Distribution.__init__(self, shape, self._categorical._param.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new._categorical = self._categorical.expand(batch_shape)
        new._batch_shape = batch_shape
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the unit vectors `value`, of shape `sample_shape + batch_shape`."""
        index = self._checked_value(value, support=True).argmax(-1)
        log_prob: Tensor = self._categorical.log_prob(index)
        return log_prob

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Unit vectors of shape `sample_shape + batch_shape + event_shape`."""
        with torch.no_grad():
            return self._unit_vectors(categorical(self._categorical.logits, sample_shape, source=generator))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All unit vectors, `[K, *batch_shape, K]`, or `[K, 1, ..., K]` without `expand`."""
        num = self.event_shape[0]
        like = self._like()
        vectors = torch.eye(num, dtype=like.dtype, device=like.device)
        vectors = vectors.reshape((num,) + (1,) * len(self.batch_shape) + (num,))
        return vectors.expand((num, *self.batch_shape, num)) if expand else vectors

    @property
    def variance(self) -> Tensor:
        """`probs * (1 - probs)`, entry by entry."""
        probs: Tensor = self._categorical.probs
        return probs * (1 - probs)

    @property
    def mode(self) -> Tensor:
        """The most probable unit vector; the first of several."""
        return self._unit_vectors(self._categorical.mode)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        entropy: Tensor = self._categorical.entropy()
        return entropy

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the observed frequencies.

        Args:
            data: Unit vectors along dimension 0, `[num_data, *batch_shape, K]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is no unit vector.

        Example:
            >>> OneHotCategorical.fit(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])).probs
            tensor([0.2500, 0.7500])
        """
        data, weights = fit_data("OneHotCategorical", data, weights, event_rank=1)
        cls(torch.ones_like(data[0]))._check_values("data", data, cls.support)
        return cls(probs=(weights.unsqueeze(-1) * data).sum(0))

    def _unit_vectors(self, index: Tensor) -> Tensor:
        classes = torch.arange(self.event_shape[0], device=index.device)
        return (index.unsqueeze(-1) == classes).to(self._like().dtype)

    def _like(self) -> Tensor:
        return self._categorical._param


@register_kl(OneHotCategorical, OneHotCategorical)
def _kl_one_hot_one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)
