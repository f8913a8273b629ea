"""Finite mixtures, of one family stacked in a batch dimension or of a list of any distributions.

A mixture knows its components through two questions, a statistic of each at a value and a statistic of each
alone; everything else follows from the answers.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.categorical import Categorical
from posterity.distributions.expectation import expectation
from posterity.distributions.kl import log_prob_anywhere
from posterity.distributions.lifted import lift
from posterity.distributions.modes import search_mode
from posterity.distributions.parameters import broadcast_shapes
from posterity.kernels import Key, Source

_MAX_CUTS = 256


class FiniteMixture(Distribution):
    """What every finite mixture has in common; `mixture_distribution` has the mixture's whole batch shape."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # declared by torch's base
    has_rsample = False
    mixture_distribution: Categorical

    @abstractmethod
    def _each_at(self, statistic: Callable[[Distribution, Tensor], Tensor], value: Tensor) -> Tensor:
        """A statistic of every component at `value`, `[*sample_shape, *batch_shape, num_components]`."""

    @abstractmethod
    def _each(self, statistic: Callable[[Distribution], Tensor], event_rank: int) -> Tensor:
        """A statistic of every component, `[..., *batch_shape, num_components, *its event]`."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, or mass, at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        if self._supports_vary():
            return self._log_density(value)
        return self._log_mix(self._each_at(lambda d, x: d.log_prob(x), value))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value): the components' cdf, weighted."""
        each = self._each_at(lambda d, x: d.cdf(x), self._checked_value(value))
        return (self.mixture_distribution.probs * each).sum(-1)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), finite where the probability itself underflows."""
        return self._log_mix(self._each_at(lambda d, x: d.log_cdf(x), self._checked_value(value)))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value): the components' survival functions, weighted."""
        each = self._each_at(lambda d, x: d.survival_function(x), self._checked_value(value))
        return (self.mixture_distribution.probs * each).sum(-1)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows."""
        return self._log_mix(self._each_at(lambda d, x: d.log_survival_function(x), self._checked_value(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1], for scalar events.

        The quantile lies between the least and the greatest of the components' own. That bracket is halved
        until it is below the rounding of its ends (65 times in float64, 36 in float32), so the result is as
        accurate as the cdf allows. Gradients come from the implicit function theorem. A discrete mixture
        gives the least value whose cdf reaches the probability.
        """
        self._refuse_vectors("icdf")
        level = self._checked_level(value)
        with torch.no_grad():
            each = self._each_at(lambda d, p: d.icdf(p), level)
            present = (self.mixture_distribution.probs > 0).expand(each.shape)
            if self._is_discrete():
                greatest = torch.where(present, each, each.min()).amax(-1)
                return self._bisect_integers(level, torch.where(present, each, each.max()).amin(-1), greatest)
            lower = torch.where(present, each, torch.inf).amin(-1)
            upper = torch.where(present, each, -torch.inf).amax(-1)
            root = self._bisect(level, lower, upper)
        return self._with_implicit_gradient(root, level)

    @property
    def mean(self) -> Tensor:
        """The components' means, weighted, of shape `batch_shape + event_shape`."""
        rank = len(self.event_shape)
        return (self._weights(rank) * self._each(lambda d: d.mean, rank)).sum(-1 - rank)

    @property
    def variance(self) -> Tensor:
        """Mean of the components' variances plus variance of their means, entry by entry."""
        rank = len(self.event_shape)
        weights, means = self._weights(rank), self._each(lambda d: d.mean, rank)
        centred = means - (weights * means).sum(-1 - rank, keepdim=True)
        return (weights * (self._each(lambda d: d.variance, rank) + centred.square())).sum(-1 - rank)

    @property
    def mode(self) -> Tensor:
        """Where the density is greatest (scalar or finite events), to the root of the dtype's precision.

        The best of the points that cut the line at the components' quantiles, refined between its neighbours
        by golden sections.
        """
        with torch.no_grad():
            if self.has_enumerate_support:
                values = self.enumerate_support()
                best = self.log_prob(values).argmax(0, keepdim=True)
                rank = len(self.event_shape)
                index = best.reshape(best.shape + (1,) * rank).expand(1, *self.batch_shape, *self.event_shape)
                return values.gather(0, index).squeeze(0)
            if self.event_shape:
                raise NotImplementedError(
                    f"{type(self).__name__}.mode is searched for on a line or in a finite support only, but "
                    f"the events have shape {tuple(self.event_shape)}: maximise log_prob from the "
                    "components' modes."
                )
            return search_mode(self) if self._is_discrete() else self._golden_section(self._each_landmarks())

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`: summed, or integrated to the accuracy of `expectation`.

        Raises:
            NotImplementedError: Events are vectors over which there is neither a sum nor a scalar integral.
            ArithmeticError: The integral did not reach its accuracy.
        """
        if self.event_shape and not self.has_enumerate_support:
            raise NotImplementedError(
                f"{type(self).__name__}.entropy has no closed form, and events of shape "
                f"{tuple(self.event_shape)} are out of reach of quadrature. A Monte Carlo estimate, the mean "
                "of -log_prob over draws, has a standard error: it is never put in its place silently."
            )
        if not self._is_discrete() and all(d.has_enumerate_support for d in self._families()):
            raise NotImplementedError(
                f"{type(self).__name__}.entropy is undefined for point masses on the line, which have no density. Put "
                "them in a Categorical and take its entropy."
            )
        return expectation(self, lambda x: -self.log_prob(x))

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`: a component, then a draw from it."""
        with torch.no_grad():
            sample_shape = torch.Size(sample_shape)
            # A key is a value and would give both draws the same numbers.
            choice, draw = generator.split() if isinstance(generator, Key) else (generator, generator)
            chosen = self.mixture_distribution.sample(sample_shape, generator=choice)
            rank = len(self.event_shape)
            draws = self._each(lambda d: d.sample(sample_shape, generator=draw), rank)
            index = chosen.reshape(chosen.shape + (1,) * (rank + 1))
            return draws.gather(-1 - rank, index.expand(*chosen.shape, 1, *self.event_shape)).squeeze(-1 - rank)

    @classmethod
    def fit(cls, *args: object, **kwargs: object) -> NoReturn:
        """Refused: the likelihood of a mixture of location-scale families has no maximum."""
        raise NotImplementedError(
            f"{cls.__name__}.fit is undefined: the likelihood of a mixture grows without bound as one "
            "component shrinks onto a single draw. Put a prior on the components and infer them instead."
        )

    @abstractmethod
    def _families(self) -> Sequence[Distribution]:
        """The components, or the one distribution in which they are stacked."""

    def _supports_vary(self) -> bool:
        """Whether a value of the mixture may lie outside the support of a component."""
        return False

    def _log_density(self, value: Tensor) -> Tensor:
        """The log density at any value, also outside the support."""
        return self._log_mix(self._each_at(log_prob_anywhere, value))

    def _log_mix(self, each: Tensor) -> Tensor:
        return (self.mixture_distribution.logits + each).logsumexp(-1)

    def _weights(self, event_rank: int) -> Tensor:
        probs = self.mixture_distribution.probs
        return probs.reshape(probs.shape + (1,) * event_rank)

    def _is_discrete(self) -> bool:
        return bool(cast(constraints.Constraint, self.support).is_discrete)

    def _landmarks(self) -> Tensor:
        points = self._each_landmarks()
        if len(points) <= _MAX_CUTS:
            return points
        # Every node of a quadrature costs a density of every component: the number of cuts must not grow with theirs.
        # Where the thinned cuts are too coarse, the quadrature refines them itself.
        kept = torch.linspace(0, len(points) - 1, _MAX_CUTS, device=points.device).round().long()
        return points.sort(0).values[kept]

    def _each_landmarks(self) -> Tensor:
        points = self._each(lambda d: d._landmarks(), 0)
        return points.movedim(-1, 0).flatten(0, 1)

    def _bisect(self, level: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        left, right = lower, upper
        for _ in range(13 - round(math.log2(torch.finfo(lower.dtype).eps))):
            middle = left.lerp(right, 0.5)
            # Towards 1 the survival function keeps the digits that the cdf has lost.
            short = torch.where(level < 0.5, self.cdf(middle) < level, self.survival_function(middle) > 1 - level)
            left, right = torch.where(short, middle, left), torch.where(short, right, middle)
        # Infinite ends belong to the levels 0 and 1.
        return torch.where(level == 0, lower, torch.where(level == 1, upper, right))

    def _bisect_integers(self, level: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        while bool((lower < upper).any()):
            middle = (lower + upper).div(2, rounding_mode="floor")
            reached = self.cdf(middle) >= level
            lower, upper = torch.where(reached, lower, middle + 1), torch.where(reached, middle, upper)
        return upper

    def _with_implicit_gradient(self, root: Tensor, level: Tensor) -> Tensor:
        # Newton's step from the root is zero in value; its derivative is that of the quantile.
        inside = root.isfinite()
        anchor = torch.where(inside, root, 0)
        # The end of an open support is the quantile of 0, and outside.
        density = self._log_density(anchor).detach().exp()
        residual = level - self.cdf(anchor)
        step = (residual - residual.detach()) / torch.where(density > 0, density, torch.inf)
        return torch.where(inside, root + step, root)

    def _golden_section(self, points: Tensor) -> Tensor:
        points = points.sort(0).values
        best = self.log_prob(points).argmax(0, keepdim=True)
        start = points.gather(0, best).squeeze(0)
        left = points.gather(0, (best - 1).clamp(min=0)).squeeze(0)
        right = points.gather(0, (best + 1).clamp(max=len(points) - 1)).squeeze(0)
        ratio = (5**0.5 - 1) / 2
        for _ in range(60):
            a, b = right - ratio * (right - left), left + ratio * (right - left)
            lower_is_better = self.log_prob(a) > self.log_prob(b)
            left, right = torch.where(lower_is_better, left, a), torch.where(lower_is_better, b, right)
        found = left.lerp(right, 0.5)
        return torch.where(self.log_prob(found) > self.log_prob(start), found, start)


class MixtureSameFamily(FiniteMixture, torch.distributions.MixtureSameFamily):
    r"""A mixture of components that are the rightmost batch dimension of one distribution.

    Args:
        mixture_distribution: The weights of the K components: a `Categorical`.
        component_distribution: A distribution with batch shape `[*batch_shape, K]`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: One of the two is not such a distribution.
        ValueError: Their shapes do not fit each other.

    Source: McLachlan and Peel, Finite Mixture Models, 2000, https://doi.org/10.1002/0471721182

    Example:
        >>> from posterity.distributions import Categorical, Normal
        >>> d = MixtureSameFamily(Categorical(torch.ones(2)), Normal(torch.tensor([-1.0, 1.0]), 1.0))
        >>> d.mean, d.variance, d.survival_function(0.0)
        (tensor(0.), tensor(2.), tensor(0.5000))
    """

    _mixture_distribution: Categorical
    _component_distribution: Distribution

    def __init__(
        self,
        mixture_distribution: torch.distributions.Categorical,
        component_distribution: torch.distributions.Distribution,
        validate_args: bool | None = None,
    ) -> None:
        for name, given, kind in (
            ("mixture_distribution", mixture_distribution, torch.distributions.Categorical),
            ("component_distribution", component_distribution, torch.distributions.Distribution),
        ):
            if not isinstance(given, kind):
                raise TypeError(f"{name} of MixtureSameFamily must be a {kind.__name__}, not {type(given).__name__}.")
        mixture, component = cast(Categorical, lift(mixture_distribution)), lift(component_distribution)
        num_components = mixture._num_events
        stacked = component_distribution.batch_shape
        if not stacked or stacked[-1] != num_components:
            raise ValueError(
                f"component_distribution must have the {num_components} components of mixture_distribution "
                f"as its last batch dimension, but its batch_shape is {tuple(stacked)}."
            )
        batch_shape = broadcast_shapes(
            "batch shapes in MixtureSameFamily",
            mixture_distribution=mixture_distribution.batch_shape,
            component_distribution=stacked[:-1],
        )
        self._mixture_distribution = mixture.expand(batch_shape)
        self._component_distribution = component.expand((*batch_shape, num_components))
        self._num_component = num_components
        self._event_ndims = len(component_distribution.event_shape)
        Distribution.__init__(self, batch_shape, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same mixture with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._component_distribution = self._component_distribution.expand((*batch_shape, self._num_component))
        new._batch_shape = batch_shape
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of the components; where those differ, what lies between the ends of all."""
        support = cast(constraints.Constraint, self._component_distribution.support)
        return _AnyComponent(support) if _varies(support) else support

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the components have finitely many values, and the same ones."""
        component = self._component_distribution
        return (
            component.has_enumerate_support
            and component.enumerate_support(expand=False).shape[len(self.batch_shape) + 1] == 1
        )

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of finite components, `[num_values, *batch_shape, *event_shape]`."""
        values = self._component_distribution.enumerate_support(expand=False).squeeze(-1 - self._event_ndims)
        return values.expand(-1, *self.batch_shape, *self.event_shape) if expand else values

    def _like(self) -> Tensor:
        return self._component_distribution._like()

    def _each_at(self, statistic: Callable[[Distribution, Tensor], Tensor], value: Tensor) -> Tensor:
        return statistic(self._component_distribution, value.unsqueeze(-1 - len(self.event_shape)))

    def _each(self, statistic: Callable[[Distribution], Tensor], event_rank: int) -> Tensor:
        return statistic(self._component_distribution)

    def _families(self) -> Sequence[Distribution]:
        return (self._component_distribution,)

    def _supports_vary(self) -> bool:
        return _varies(cast(constraints.Constraint, self._component_distribution.support))


def _varies(constraint: constraints.Constraint) -> bool:
    """Whether a constraint has bounds with a batch shape, which may differ between components."""
    parts = constraint.__dict__.values()
    return any(
        part.dim() > 0 if isinstance(part, Tensor) else isinstance(part, constraints.Constraint) and _varies(part)
        for part in parts
    )


class _AnyComponent(constraints.Constraint):
    """A constraint on `[..., num_components, *event]`, put to values `[..., *event]`."""

    def __init__(self, component: constraints.Constraint) -> None:
        self.component = component
        self.is_discrete = component.is_discrete
        self.event_dim = component.event_dim
        for name, widest in (("lower_bound", torch.amin), ("upper_bound", torch.amax)):
            bound = getattr(component, name, None)
            if bound is not None:
                setattr(self, name, widest(bound, -1) if isinstance(bound, Tensor) and bound.dim() else bound)

    def check(self, value: Tensor) -> Tensor:
        valid: Tensor = self.component.check(value.unsqueeze(-1 - self.event_dim)).any(-1)
        if self.event_dim:
            return valid
        # In a gap between two components the density is 0.
        between = (value > getattr(self, "lower_bound", -torch.inf)) & (value < getattr(self, "upper_bound", torch.inf))
        return valid | (between & (value % 1 == 0) if self.is_discrete else between)

    def __repr__(self) -> str:
        return repr(self.component)


class Mixture(FiniteMixture):
    """A mixture of any distributions over the same events, whatever their families.

    It holds, for example, the S posterior draws of a network's output distribution.

    Args:
        components: At least one distribution, of this library or of torch's; batch shapes broadcast, event
            shapes and supports are equal.
        weights: Non-negative, `[*batch_shape, len(components)]`, normalised to sum to 1; None: all equal.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A component is no distribution.
        ValueError: There are no components, shapes or supports disagree, or weights do not fit.

    Source: McLachlan and Peel, Finite Mixture Models, 2000, https://doi.org/10.1002/0471721182

    Example:
        >>> from posterity.distributions import Laplace, Normal
        >>> d = Mixture([Normal(0.0, 1.0), Laplace(0.0, 1.0)], weights=torch.tensor([0.25, 0.75]))
        >>> d.variance, d.median
        (tensor(1.7500), tensor(0.))
    """

    def __init__(
        self,
        components: Sequence[torch.distributions.Distribution],
        weights: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not components:
            raise ValueError("components of Mixture must be at least one distribution, but the list is empty.")
        for i, component in enumerate(components):
            if not isinstance(component, torch.distributions.Distribution):
                raise TypeError(f"components[{i}] of Mixture must be a distribution, not {type(component).__name__}.")
            _check_like_first(i, component, components[0])
        lifted = [lift(component) for component in components]
        if weights is None:
            weights = lifted[0]._like().new_ones(len(components))
        mixture_distribution = Categorical(probs=weights, validate_args=validate_args)
        if mixture_distribution._num_events != len(components):
            raise ValueError(
                f"weights of Mixture must have {len(components)} entries in the last dimension, one for each "
                f"component, but have shape {tuple(weights.shape)}."
            )
        shapes = {f"components[{i}]": c.batch_shape for i, c in enumerate(components)}
        batch_shape = broadcast_shapes("batch shapes in Mixture", weights=mixture_distribution.batch_shape, **shapes)
        self.mixture_distribution = mixture_distribution.expand(batch_shape)
        self.components = tuple(c.expand(batch_shape) for c in lifted)
        Distribution.__init__(self, batch_shape, components[0].event_shape, validate_args=validate_args)

    def __repr__(self) -> str:
        listed = ", ".join(repr(c) for c in self.components)
        return f"Mixture([{listed}], weights={self.mixture_distribution!r})"

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same mixture with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new.mixture_distribution = self.mixture_distribution.expand(batch_shape)
        new.components = tuple(c.expand(batch_shape) for c in self.components)
        new._batch_shape = batch_shape
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The support that the components share."""
        return cast(constraints.Constraint, self.components[0].support)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the components have finitely many values, and the same ones."""
        return self._is_discrete() and all(c.has_enumerate_support for c in self.components)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of finite components, `[num_values, *batch_shape, *event_shape]`."""
        return self.components[0].enumerate_support(expand)

    def _like(self) -> Tensor:
        return self.components[0]._like()

    def _each_at(self, statistic: Callable[[Distribution, Tensor], Tensor], value: Tensor) -> Tensor:
        return torch.stack([statistic(c, value) for c in self.components], dim=-1)

    def _each(self, statistic: Callable[[Distribution], Tensor], event_rank: int) -> Tensor:
        return torch.stack([statistic(c) for c in self.components], dim=-1 - event_rank)

    def _families(self) -> Sequence[Distribution]:
        return self.components


def _check_like_first(
    i: int, component: torch.distributions.Distribution, first: torch.distributions.Distribution
) -> None:
    if component.event_shape != first.event_shape:
        raise ValueError(
            f"components of Mixture must have one event shape, but components[0] has "
            f"{tuple(first.event_shape)} and components[{i}] has {tuple(component.event_shape)}."
        )
    if repr(component.support) != repr(first.support):
        raise ValueError(
            f"components of Mixture must share their support, but that of components[0] is {first.support!r} "
            f"and that of components[{i}] is {component.support!r}."
        )
