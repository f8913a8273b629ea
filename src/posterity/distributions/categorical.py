"""The categorical distribution over class indices, safe where a class has probability zero."""

import math
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.parameters import broadcast_shapes, exactly_one
from posterity.kernels import Source, uniform


class Categorical(Distribution, torch.distributions.Categorical):
    """A distribution over the class indices 0, ..., K - 1.

    Statistics that need an order or a distance (cdf, icdf, median, mean, variance) are those of the index.

    Args:
        probs: Non-negative weights of the classes, `[*batch_shape, K]`; they are normalised to sum to 1.
        logits: Unnormalised log weights, `[*batch_shape, K]`; minus infinity excludes a class.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: The one given is not a real tensor.
        ValueError: Both or neither of `probs` and `logits` are given, or there is no class dimension, or
            weights are negative, NaN, infinite or all zero.

    Example:
        >>> d = Categorical(probs=torch.tensor([0.5, 0.5, 0.0]))
        >>> d.entropy(), d.cdf(torch.tensor(0)), d.mode
        (tensor(0.6931), tensor(0.5000), tensor(0))
    """

    has_enumerate_support = True

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        ((name, given),) = exactly_one("Categorical", probs=probs, logits=logits).items()
        if not isinstance(given, Tensor) or given.is_complex():
            raise TypeError(f"{name} of Categorical must be a real tensor, not {type(given).__name__}.")
        if given.dim() == 0 or given.shape[-1] == 0:
            raise ValueError(
                f"{name} of Categorical must have the classes in its last dimension, but its shape is "
                f"{tuple(given.shape)}."
            )
        given = given if given.is_floating_point() else given.to(torch.get_default_dtype())
        # The raw weights first: normalising can hide what is wrong with them.
        self._validate_values = validate_args
        self._check_values(name, given, _weights if logits is None else _log_weights)
        if logits is None:
            self._param = self.probs = given / given.sum(-1, keepdim=True)
        else:
            self._param = self.logits = given.log_softmax(-1)
        self._num_events = given.shape[-1]
        torch.distributions.Distribution.__init__(self, given.shape[:-1], validate_args=False)

    def expand(self, batch_shape: _size, _instance: object = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = super().expand(batch_shape, _instance)
        new._param = new.__dict__["probs" if "probs" in new.__dict__ else "logits"]
        return new

    @lazy_property
    def logits(self) -> Tensor:
        """Normalised log probabilities, `[*batch_shape, K]`; minus infinity for an excluded class."""
        # torch clamps at log(eps) instead; the inner clamp keeps the gradient of an excluded class at zero.
        log_probs = self.probs.clamp(min=torch.finfo(self.probs.dtype).tiny).log()
        return torch.where(self.probs > 0, log_probs, -torch.inf)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the classes `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        checked = self._checks_values()
        index = value.long() if checked else value.long().clamp(0, self._num_events - 1)
        shape = broadcast_shapes("value and batch", value=index.shape, batch=self.batch_shape)
        found = self.logits.expand(*shape, -1).gather(-1, index.expand(shape).unsqueeze(-1)).squeeze(-1)
        return found if checked else self._inside_only(value, _of_numbers(value, found))

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of an index at most `value`."""
        return _of_numbers(value, (self.probs * self._at_most(value)).sum(-1))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of the probability of an index at most `value`."""
        return _of_numbers(value, _log_mass(self.logits, self._at_most(value)))

    def survival_function(self, value: Tensor) -> Tensor:
        """Probability of an index above `value`."""
        return _of_numbers(value, (self.probs * ~self._at_most(value)).sum(-1))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of the probability of an index above `value`."""
        return _of_numbers(value, _log_mass(self.logits, ~self._at_most(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The least class index whose cdf reaches the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        shape = broadcast_shapes("value and batch", value=level.shape, batch=self.batch_shape)
        levels = level.to(self.probs.dtype).expand(shape).unsqueeze(-1).contiguous()
        cumulative = self.probs.cumsum(-1)
        # No level may lie above the last sum, which rounding leaves next to 1, or below the first mass.
        levels = torch.minimum(levels, cumulative[..., -1:])
        levels = levels.clamp(min=torch.finfo(levels.dtype).tiny)
        return torch.searchsorted(cumulative.expand(*shape, -1).contiguous(), levels).squeeze(-1)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Class indices of shape `sample_shape + batch_shape`, by the inverse cdf of uniform noise.

        Probabilities are resolved to half a unit of rounding at 1 (6e-8 in float32); a class of probability
        zero is never drawn.
        """
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            cumulative = self.probs.cumsum(-1)
            total = cumulative[..., -1]
            noise = uniform(shape, source=generator, dtype=cumulative.dtype, device=cumulative.device)
            below = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
            # searchsorted wants the draws of one row of weights last.
            num_draws = shape[: len(shape) - len(self.batch_shape)].numel()
            flat = below.reshape(num_draws, *self.batch_shape).movedim(0, -1).contiguous()
            drawn = torch.searchsorted(cumulative.contiguous(), flat, right=True)
            return drawn.movedim(-1, 0).reshape(shape)

    @property
    def mean(self) -> Tensor:
        """Mean of the class index."""
        return (self.probs * self._indices()).sum(-1)

    @property
    def variance(self) -> Tensor:
        """Variance of the class index."""
        return (self.probs * (self._indices() - self.mean.unsqueeze(-1)).square()).sum(-1)

    @property
    def mode(self) -> Tensor:
        """The most probable class; the first of several."""
        return self._param.argmax(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`; classes of probability zero add nothing to it."""
        possible = self.probs > 0
        log_probs = torch.where(possible, self.logits, 0)
        return -(self.probs * log_probs).sum(-1)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None, num_classes: int | None = None) -> Self:
        """Maximum likelihood: the observed frequencies.

        Args:
            data: Class indices along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
            num_classes: K; by default one more than the largest index seen.

        Raises:
            TypeError: `data` is not a tensor of integers.
            ValueError: There are no data, or an index is negative or beyond `num_classes`.

        Example:
            >>> Categorical.fit(torch.tensor([0, 0, 2, 0])).probs
            tensor([0.7500, 0.0000, 0.2500])
        """
        if not isinstance(data, Tensor) or data.is_floating_point() or data.is_complex():
            kind = data.dtype if isinstance(data, Tensor) else type(data).__name__
            raise TypeError(f"data of Categorical.fit must be a tensor of class indices, not {kind}.")
        if data.dim() == 0 or data.numel() == 0:
            raise ValueError(
                f"data of Categorical.fit must hold draws along dimension 0, but its shape is {tuple(data.shape)}."
            )
        data = data.long()
        least, most = int(data.min()), int(data.max())
        num_classes = most + 1 if num_classes is None else num_classes
        if least < 0 or most >= num_classes:
            raise ValueError(
                f"data of Categorical.fit must lie in 0, ..., {num_classes - 1}, but range from {least} to {most}."
            )
        _, weights = fit_data("Categorical", data, weights)
        frequencies = weights.new_zeros(*data.shape[1:], num_classes)
        return cls(probs=frequencies.scatter_add(-1, data.movedim(0, -1), weights.expand(data.shape).movedim(0, -1)))

    def _indices(self) -> Tensor:
        return torch.arange(self._num_events, dtype=self.probs.dtype, device=self.probs.device)

    def _at_most(self, value: Tensor) -> Tensor:
        return self._indices() <= self._checked_value(value).unsqueeze(-1)


class _Weights(constraints.Constraint):
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        total = value.sum(-1)
        return (value >= 0).all(-1) & (total > 0) & total.isfinite()

    def __repr__(self) -> str:
        return "NonNegativeWeights(with a positive, finite sum)"


class _LogWeights(constraints.Constraint):
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value < torch.inf).all(-1) & (value > -torch.inf).any(-1)

    def __repr__(self) -> str:
        return "LogWeights(below infinity, not NaN, not all minus infinity)"


_LOG_2 = math.log(2)
_weights = _Weights()
_log_weights = _LogWeights()


def _of_numbers(value: Tensor | float, result: Tensor) -> Tensor:
    """The result, but NaN where the value is."""
    unknown = value.isnan() if isinstance(value, Tensor) else torch.full_like(result, value).isnan()
    return torch.where(unknown, torch.nan, result)


def _log_mass(logits: Tensor, mask: Tensor) -> Tensor:
    inside = torch.where(mask, logits, -torch.inf).logsumexp(-1)
    outside = torch.where(mask, -torch.inf, logits).logsumexp(-1)
    # The logarithm of what is near 1, from its complement; the clamp keeps the other branch's gradient finite.
    return torch.where(inside < -_LOG_2, inside, torch.log1p(-outside.clamp(max=-_LOG_2).exp()))


@register_kl(Categorical, Categorical)
def _kl_categorical_categorical(p: Categorical, q: Categorical) -> Tensor:
    if p._num_events != q._num_events:
        raise ValueError(f"KL needs equally many classes, but p has {p._num_events} and q {q._num_events}.")
    possible = p.probs > 0
    # Masked before subtracting: -inf - -inf would reach the gradient as NaN.
    log_ratio = torch.where(possible, p.logits, 0) - torch.where(possible, q.logits, 0)
    return (p.probs * log_ratio).sum(-1)
