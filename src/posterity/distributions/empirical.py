"""The distribution of weighted samples: what a sampler leaves behind, as a distribution."""

from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import log_prob_anywhere, register_kl
from posterity.kernels import Source
from posterity.kernels.samplers import categorical


class Empirical(Distribution):
    """N points, each with its share of the probability; equal points add theirs up.

    Args:
        samples: The points, `[*batch_shape, N, *event_shape]`.
        log_weights: Unnormalised log weights, `[*batch_shape, N]`, whose rank tells batch from event; None: `samples`
            is `[N, *event_shape]`, and all weights are alike.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `samples` or `log_weights` is no real tensor.
        ValueError: There are no samples, the shapes do not fit, or weights are NaN, infinite or all zero.

    Example:
        >>> d = Empirical(torch.tensor([1.0, 2.0, 2.0, 5.0]))
        >>> d.mean, d.median, d.prob(torch.tensor(2.0)), d.cdf(4.0)
        (tensor(2.5000), tensor(2.), tensor(0.5000), tensor(0.7500))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "samples": constraints.dependent,
        "log_weights": constraints.real_vector,
    }

    samples: Tensor
    log_weights: Tensor

    def __init__(self, samples: Tensor, log_weights: Tensor | None = None, validate_args: bool | None = None) -> None:
        for name, given in (("samples", samples), ("log_weights", log_weights)):
            if not (isinstance(given, Tensor) or (given is None and name == "log_weights")) or (
                isinstance(given, Tensor) and given.is_complex()
            ):
                raise TypeError(f"{name} of Empirical must be a real tensor, not {type(given).__name__}.")
        dtype = samples.dtype if samples.is_floating_point() else torch.get_default_dtype()
        if log_weights is None:
            log_weights = torch.zeros(samples.shape[:1], dtype=dtype, device=samples.device)
        rank = log_weights.dim()
        if rank == 0 or log_weights.numel() == 0 or samples.shape[:rank] != log_weights.shape:
            raise ValueError(
                "samples of Empirical must begin with the shape of log_weights, [*batch_shape, N] with N > 0, but have "
                f"shape {tuple(samples.shape)} with log_weights of {tuple(log_weights.shape)}."
            )
        self._validate_values = validate_args
        self._check_values("log_weights", log_weights, _usable)
        self.samples, self.log_weights = samples, log_weights.to(dtype).log_softmax(-1)
        torch.distributions.Distribution.__init__(
            self, log_weights.shape[:-1], samples.shape[rank:], validate_args=False
        )

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        """The whole space, in which the points may lie anywhere."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new.samples = self.samples.expand(batch_shape + self.samples.shape[len(self.batch_shape) :])
        new.log_weights = self.log_weights.expand(batch_shape + self.log_weights.shape[-1:])
        new._batch_shape = batch_shape
        return new

    @property
    def weights(self) -> Tensor:
        """Normalised weights, `[*batch_shape, N]`."""
        return self.log_weights.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log of the weight of the points equal to `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        rank = len(self.event_shape)
        hit = value.unsqueeze(-1 - rank) == self.samples
        hit = hit.flatten(-rank).all(-1) if rank else hit
        return torch.where(hit, self.log_weights, -torch.inf).logsumexp(-1)

    def cdf(self, value: Tensor) -> Tensor:
        """Weight of the points at most `value`."""
        self._refuse_vectors("cdf")
        return (self.weights * (self.samples <= self._checked_value(value).unsqueeze(-1))).sum(-1)

    def survival_function(self, value: Tensor) -> Tensor:
        """Weight of the points above `value`."""
        self._refuse_vectors("survival_function")
        return (self.weights * (self.samples > self._checked_value(value).unsqueeze(-1))).sum(-1)

    def icdf(self, value: Tensor) -> Tensor:
        """The least point at which the cdf reaches the probability `value` in [0, 1]."""
        self._refuse_vectors("icdf")
        level = self._checked_level(value).to(self.log_weights.dtype)
        ascending, order = self.samples.sort(-1)
        cumulative = self.weights.gather(-1, order).cumsum(-1)
        shape = torch.broadcast_shapes(level.shape, self.batch_shape)
        # No level may lie above the last sum, which rounding leaves next to 1, or below the first weight.
        levels = torch.minimum(level.expand(shape).unsqueeze(-1), cumulative[..., -1:])
        levels = levels.clamp(min=torch.finfo(levels.dtype).tiny).contiguous()
        index = torch.searchsorted(cumulative.expand(*shape, -1).contiguous(), levels)
        return ascending.expand(*shape, -1).gather(-1, index).squeeze(-1)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Points with their weights' probabilities, of shape `sample_shape + batch_shape + event_shape`."""
        with torch.no_grad():
            index = categorical(self.log_weights, sample_shape, source=generator)
            rank = len(self.event_shape)
            lead = index.shape[: index.dim() - len(self.batch_shape)]
            place = index.reshape(index.shape + (1,) * (rank + 1)).expand(*index.shape, 1, *self.event_shape)
            points = self.samples.expand(lead + self.samples.shape)
            return points.gather(len(index.shape), place).squeeze(-1 - rank)

    @property
    def mean(self) -> Tensor:
        """Weighted mean of the points."""
        return self._average(self.samples)

    @property
    def variance(self) -> Tensor:
        """Weighted mean squared distance from the mean, entry by entry."""
        return self._average((self.samples - self.mean.unsqueeze(len(self.batch_shape))).square())

    @property
    def mode(self) -> Tensor:
        """The point of the greatest weight, equal ones counted together; the first of several."""
        best = self._log_masses().argmax(-1)
        place = best.reshape(best.shape + (1,) * (len(self.event_shape) + 1))
        place = place.expand(*best.shape, 1, *self.event_shape)
        return self.samples.gather(len(self.batch_shape), place).squeeze(len(self.batch_shape))

    def entropy(self) -> Tensor:
        """Entropy in nats of the point that is drawn; every point is compared with every other."""
        masses = self._log_masses()
        return -(self.weights * torch.where(self.weights > 0, masses, 0)).sum(-1)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the data themselves.

        Args:
            data: Scalars along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Example:
            >>> Empirical.fit(torch.tensor([1.0, 4.0])).mean
            tensor(2.5000)
        """
        data, weights = fit_data("Empirical", data, weights)
        return cls(data.movedim(0, -1), weights.expand(data.shape).movedim(0, -1).log())

    def _log_masses(self) -> Tensor:
        return self.log_prob(self.samples.movedim(len(self.batch_shape), 0)).movedim(0, -1)

    def _average(self, entries: Tensor) -> Tensor:
        weights = self.weights.reshape(self.weights.shape + (1,) * len(self.event_shape))
        return (weights * entries).sum(len(self.batch_shape))

    def _like(self) -> Tensor:
        return self.log_weights


class _Usable(constraints.Constraint):
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value < torch.inf).all(-1) & (value > -torch.inf).any(-1)

    def __repr__(self) -> str:
        return "LogWeights(below infinity, not NaN, not all minus infinity)"


_usable = _Usable()


@register_kl(Empirical, torch.distributions.Distribution)
def _kl_empirical_any(p: Empirical, q: torch.distributions.Distribution) -> Tensor:
    points = p.samples.movedim(len(p.batch_shape), 0)
    terms = p.log_prob(points) - log_prob_anywhere(q, points)
    weights = p.weights.movedim(-1, 0)
    return torch.where(weights > 0, weights * terms, 0).sum(0)
