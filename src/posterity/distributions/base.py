"""The face that every distribution of the library shows: torch's own, completed.

A leaf lists `Distribution` before torch's class of the same name and declares each parameter once, in
`arg_constraints`: a constraint carries its event rank, and broadcasting, `expand`, validation and `fit` follow from
the two. Given a support, `log_prob` and a sampler, every other statistic has a default here: a sum, an integral or a
search of stated accuracy.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.checks import Checked
from posterity.distributions.cumulative import integrated_cdf
from posterity.distributions.fitting import fit_data, maximum_likelihood, standard_start
from posterity.distributions.masses import summed_cdf, summed_quantile
from posterity.distributions.parameters import alike, broadcast_parameters, is_plain
from posterity.distributions.quantiles import continuous_quantile, integer_quantile
from posterity.distributions.supports import support_ends
from posterity.kernels import Source, uniform
from posterity.runtime import validation_enabled

# What a leaf takes over from torch's class of the same name: closed forms that are as good as ours would be.
_FROM_TORCH = ("mean", "variance", "mode", "entropy")


class Distribution(Checked):
    """A `torch.distributions.Distribution` with every statistic, accurate tails, and generators.

    What has a closed form is overridden in the leaf; mean, variance, mode and entropy are torch's where torch's class
    of the same name has them. What is mathematically undefined for a distribution raises `NotImplementedError` with
    the reason; a moment that does not exist is NaN and one that diverges infinite, as in torch.

    Outside the support a cdf goes on, to 0 and to 1, and `log_prob` refuses the value. Where values are not checked, a
    NaN stays NaN, and the `log_prob` of a scalar family is minus infinity there, as at both infinities; a family of
    vectors need not know what lies outside.

    Args:
        batch_shape: The shape over which parameters are batched.
        event_shape: The shape of one draw.
        validate_args: Whether values (parameters, draws) are checked; None follows
            `posterity.runtime.validation_enabled()`. Shapes and types are checked always.

    Raises:
        ValueError: A parameter violates its constraint.

    Example:
        >>> from posterity.distributions import Normal
        >>> d = Normal(torch.zeros(3), 1.0)
        >>> isinstance(d, torch.distributions.Normal), d.to_event().log_prob(torch.zeros(3)).shape
        (True, torch.Size([]))
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _FROM_TORCH:
            owners = [c for c in cls.__mro__ if name in c.__dict__]
            if owners[0] is Distribution and owners[1] not in _TORCH_BASES:
                setattr(cls, name, owners[1].__dict__[name])

    def __init__(
        self,
        batch_shape: _size = (),
        event_shape: _size = (),
        validate_args: bool | None = None,
    ) -> None:
        # What torch's constructor sets when it checks nothing, without the time that it takes.
        self._batch_shape, self._event_shape = torch.Size(batch_shape), torch.Size(event_shape)
        self._validate_args, self._validate_values = False, validate_args
        if validate_args or (validate_args is None and validation_enabled()):
            for name, constraint in self.arg_constraints.items():
                if name in self.__dict__:
                    self._check_values(name, self.__dict__[name], constraint)

    def _initialise(
        self,
        parameters: Mapping[str, Tensor | float],
        event_shape: _size = (),
        validate_args: bool | None = None,
    ) -> None:
        """A leaf's constructor: parameters broadcast, made attributes, and checked against their constraints."""
        ranks = [self.arg_constraints[name].event_dim for name in parameters]
        if any(ranks) or not alike(parameters.values()):
            event_ranks = dict(zip(parameters, ranks, strict=True))
            tensors = broadcast_parameters(type(self).__name__, event_ranks=event_ranks, **parameters)
            parameters = dict(zip(parameters, tensors, strict=True))
        for name, tensor in parameters.items():
            setattr(self, name, tensor)
        first = cast(Tensor, next(iter(parameters.values())))
        Distribution.__init__(self, first.shape[: first.dim() - ranks[0]], event_shape, validate_args)

    # Densities and tails.

    def prob(self, value: Tensor) -> Tensor:
        """Density, or mass, at `value`: `exp(log_prob(value))`, of shape `sample_shape + batch_shape`."""
        return self.log_prob(value).exp()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), of shape `sample_shape + batch_shape`; summed, or integrated to about 1e-10 in float64."""
        return self._accumulated("cdf", value)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value), of shape `sample_shape + batch_shape`."""
        return _log_of(self.cdf(value), self.survival_function(value))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value), of shape `sample_shape + batch_shape`."""
        self._refuse_vectors("survival_function")
        return 1 - self.cdf(value) if self._has_closed_form("cdf") else self._accumulated("survival_function", value)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), of shape `sample_shape + batch_shape`."""
        return _log_of(self.survival_function(value), self.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile: the least x with P(X <= x) >= `value`, of shape `sample_shape + batch_shape`.

        It is searched for down to the last bit that the cdf resolves, and among integers exactly. Gradients of a
        continuous one come from the implicit function theorem.
        """
        self._refuse_vectors("icdf")
        level = self._checked_level(value)
        if not self._is_discrete():
            return continuous_quantile(self, level)
        listed = self.has_enumerate_support or not self._has_closed_form("cdf")
        return summed_quantile(self, level) if listed else integer_quantile(self, level)

    @property
    def median(self) -> Tensor:
        """A value with half the probability on either side, of shape `batch_shape` (scalar events)."""
        self._refuse_vectors("median")
        return self.icdf(self._level(0.5))

    # Moments.

    @property
    def mean(self) -> Tensor:
        """Mean, of shape `batch_shape + event_shape`; summed or integrated for scalar events."""
        self._refuse_integral("mean")
        return self._expectation(lambda x: x)

    @property
    def variance(self) -> Tensor:
        """Variance, entry by entry, of shape `batch_shape + event_shape`; summed or integrated for scalar events."""
        self._refuse_integral("variance")
        mean = self.mean
        return self._expectation(lambda x: (x - mean).square())

    @property
    def mode(self) -> Tensor:
        """Where the density or mass is greatest, of shape `batch_shape`; searched for, to the root of the precision."""
        from posterity.distributions.modes import search_mode  # it sums over this class

        self._refuse_integral("mode")
        return search_mode(self)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`; summed or integrated for scalar events."""
        self._refuse_integral("entropy")
        return self._expectation(lambda x: -self.log_prob(x))

    # Comparisons.

    def kl_divergence(self, other: torch.distributions.Distribution) -> Tensor:
        """KL(self || other) in nats, of shape `batch_shape`; see `posterity.distributions.kl_divergence`."""
        from posterity.distributions.kl import kl_divergence  # it integrates over this class

        return kl_divergence(self, other)

    def cross_entropy(self, other: torch.distributions.Distribution) -> Tensor:
        """-E[log other(X)] for X from self, in nats: entropy plus KL(self || other)."""
        return self.entropy() + self.kl_divergence(other)

    # Draws.

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + event_shape`, without gradients.

        Args:
            sample_shape: The shape of independent draws for each element of the batch.
            generator: Where the random numbers come from, a `torch.Generator` or a `posterity.kernels.Key`;
                None is torch's global generator, which is not touched otherwise.
        """
        with torch.no_grad():
            if self.has_rsample or self.event_shape:
                return self.rsample(sample_shape, generator=generator)
            return self.icdf(self._open_uniform(sample_shape, generator))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters, shaped and randomised as in `sample`."""
        if self.has_rsample and not self.event_shape:
            return self.icdf(self._open_uniform(sample_shape, generator))
        raise NotImplementedError(
            f"{type(self).__name__} has no reparameterised draws: its draws are not a smooth function of its "
            "parameters. Use sample(), and a score-function estimator where a gradient is needed."
        )

    # Other distributions made from this one.

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied.

        Raises:
            ValueError: `batch_shape` is not one that the present batch broadcasts to.
        """
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        for name, constraint in self.arg_constraints.items():
            if name in self.__dict__:
                parameter = self.__dict__[name]
                event = parameter.shape[parameter.dim() - constraint.event_dim :]
                new.__dict__[name] = parameter.expand(batch_shape + event)
        new._batch_shape = batch_shape
        return new

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> "Distribution":
        """The rightmost batch dimensions (all of them by default) made part of one event.

        Args:
            reinterpreted_batch_ndims: How many; 0 gives this distribution itself.

        Raises:
            ValueError: There are fewer batch dimensions than that, or the number is negative.
        """
        from posterity.distributions.independent import Independent  # it derives from this class

        ndims = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return self if ndims == 0 else Independent(self, ndims)

    def mask(self, mask: Tensor | bool) -> "Distribution":
        """This distribution with a log density of zero wherever `mask` is false; see `MaskedDistribution`.

        Args:
            mask: True, False, or a bool tensor that broadcasts against the batch.
        """
        from posterity.distributions.masked import MaskedDistribution  # it derives from this class

        return MaskedDistribution(self, mask)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """The distribution of this family under which `data` is most likely.

        Where a family has no closed form, the likelihood is climbed by BFGS on unconstrained space in float64, until
        the gradient of the mean log likelihood is below 1e-9 or rounding stops it.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape, *event_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            TypeError: `data` or `weights` is no real tensor.
            ValueError: There are no data, one is NaN or outside the support, or weights are negative, all zero or of
                another shape.
            ArithmeticError: The search did not converge: the likelihood may have no maximum.
        """
        data, weights = fit_data(cls.__name__, data, weights, _event_rank(cls))
        start = cls._fit_start(data, weights)
        # Its constructor looks at the start, its `log_prob` at the data.
        guess = cls(**start)  # type: ignore[arg-type]  # a leaf's constructor
        guess._check_values("data", data, cast(constraints.Constraint, guess.support))
        return maximum_likelihood(cls, data, weights, start)

    # For the leaves.

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Where `fit` begins, by parameter; `weights` sum to 1 over dimension 0. Moments make it quick."""
        names = [name for name in inspect.signature(cls.__init__).parameters if name in cls.arg_constraints]
        if "probs" in names and "logits" in names:
            names.remove("probs")
        return standard_start({name: cls.arg_constraints[name] for name in names}, data, weights, _event_rank(cls))

    def _landmarks(self) -> Tensor:
        """Points that cut the line where this scalar distribution changes, `[num_points, *batch_shape]`.

        Quadrature between neighbours sees a smooth function on the scale of the gap. A leaf with neither cdf nor icdf
        in closed form nor mean and variance overrides this.
        """
        like = self._like()
        z = torch.linspace(-7.0, 7.0, 13, dtype=like.dtype, device=like.device)
        column = (-1,) + (1,) * len(self.batch_shape)
        if self._has_closed_form("icdf") or self._has_closed_form("cdf"):
            levels = torch.special.ndtr(z)
            eps = torch.finfo(like.dtype).eps
            levels = torch.cat([levels[:7].clamp(min=eps**2), levels[7:].clamp(max=1 - 2 * eps)])
            return self.icdf(levels.reshape(column)).expand((-1, *self.batch_shape))
        if self._has_closed_form("mean") and self._has_closed_form("variance"):
            points = self.mean + self.stddev * z.reshape(column)
            return points.clamp(*support_ends(self)).expand((-1, *self.batch_shape))
        raise NotImplementedError(
            f"{type(self).__name__} has no closed form of its cdf, icdf, or mean and variance, so that quadrature does "
            "not know where its mass lies: the class needs _landmarks()."
        )

    def _has_closed_form(self, statistic: str) -> bool:
        """Whether a subclass gives the statistic itself, rather than leave it to a default of this class."""
        return getattr(type(self), statistic) is not getattr(Distribution, statistic)

    def _is_discrete(self) -> bool:
        return bool(cast(constraints.Constraint, self.support).is_discrete)

    def _open_uniform(self, sample_shape: _size, generator: Source) -> Tensor:
        """Uniform numbers that are never 0 or 1, of shape `sample_shape + batch_shape + event_shape`."""
        like, shape = self._like(), self._extended_shape(sample_shape)
        # torch's are multiples of eps / 2 in [0, 1). A quarter of a step more keeps them from 0, and rounds back
        # below 1.
        shift = torch.finfo(like.dtype).eps / 8
        if (generator is None or isinstance(generator, torch.Generator)) and is_plain():
            return like.new_empty(shape).uniform_(shift, 1.0, generator=generator)
        return uniform(shape, source=generator, dtype=like.dtype, device=like.device).add_(shift)

    def _accumulated(self, what: str, value: Tensor) -> Tensor:
        self._refuse_vectors(what)
        value = self._checked_value(value)
        accumulate = summed_cdf if self._is_discrete() else integrated_cdf
        return accumulate(self, value, above=what == "survival_function")

    def _expectation(self, function: Any) -> Tensor:
        from posterity.distributions.expectation import expectation  # it integrates over this class

        return expectation(self, function)

    def _refuse_integral(self, what: str) -> None:
        if self.event_shape and not self.has_enumerate_support:
            raise NotImplementedError(
                f"{type(self).__name__}.{what} has no closed form, and events of shape {tuple(self.event_shape)} are "
                "out of reach of quadrature: what is left is a Monte Carlo estimate with its error."
            )

    def _refuse_vectors(self, what: str) -> None:
        if self.event_shape:
            raise NotImplementedError(
                f"{type(self).__name__}.{what} is undefined for events of shape {tuple(self.event_shape)}: "
                "vectors have no order. Ask the distributions of the entries."
            )

    def _bare_copy(self, instance: Any = None) -> Self:
        """A shallow copy, made without the constructor, so that a subclass keeps its further attributes."""
        new = object.__new__(type(self)) if instance is None else instance
        new.__dict__.update(self.__dict__)
        return cast(Self, new)


_TORCH_BASES = (torch.distributions.Distribution, torch.distributions.ExponentialFamily)


def _log_of(probability: Tensor, complement: Tensor) -> Tensor:
    # The logarithm of what is near 1, from its complement; each branch sees only its own half.
    small = probability < 0.5
    near_one = torch.log1p(-torch.where(small, 0.5, complement))
    return torch.where(small, torch.where(small, probability, 0.5).log(), near_one)


def _event_rank(family: type[Distribution]) -> int:
    support = cast(constraints.Constraint, family.support)
    try:
        return support.event_dim
    except NotImplementedError:  # a property that declares no rank
        return 0
