"""The bijector that belongs to a support: from unconstrained space onto it."""

from collections.abc import Callable
from typing import Any

from torch.distributions import biject_to, transform_to

from posterity.bijectors import constraints
from posterity.bijectors.ascending import Ascending
from posterity.bijectors.base import Bijector
from posterity.bijectors.chain import Chain
from posterity.bijectors.cholesky_outer_product import CholeskyOuterProduct
from posterity.bijectors.concat import Concat
from posterity.bijectors.constraints import Constraint
from posterity.bijectors.corr_cholesky import CorrCholesky
from posterity.bijectors.cumsum import CumSum
from posterity.bijectors.exponential import Exp
from posterity.bijectors.fill_scale_tril import FillScaleTriL
from posterity.bijectors.fill_triangular import FillTriangular
from posterity.bijectors.half_line import HalfLine
from posterity.bijectors.identity import Identity
from posterity.bijectors.independent import Independent
from posterity.bijectors.sigmoid import Sigmoid
from posterity.bijectors.simplex import StickBreaking
from posterity.bijectors.stack import Stack
from posterity.bijectors.unit_vector import UnitVector

Factory = Callable[[Any], Bijector]
_factories: dict[type[Constraint], Factory] = {}


def bijector_to(constraint: Constraint) -> Bijector:
    """The bijector from unconstrained space onto a continuous support.

    Its codomain has the event rank of the constraint, and contains what the constraint allows but for a boundary of
    measure zero; the sphere is covered but for one pole.

    Args:
        constraint: A support: of `posterity.bijectors.constraints`, or of a type given to `register_bijector`.

    Raises:
        NotImplementedError: No bijector is registered for the constraint's type, or it is discrete.
        TypeError: `constraint` is not a Constraint.

    Example:
        >>> import torch
        >>> from posterity.bijectors import bijector_to, constraints
        >>> bijector_to(constraints.simplex)(torch.zeros(1))
        tensor([0.5000, 0.5000])
        >>> bijector_to(constraints.less_than(3.0))(torch.tensor(0.0))
        tensor(2.)
    """
    if not isinstance(constraint, Constraint):
        raise TypeError(f"bijector_to takes a constraint, such as distribution.support, not {constraint!r}.")
    for kind in type(constraint).__mro__:
        if kind in _factories:
            return _factories[kind](constraint)
    known = ", ".join(sorted(kind.__name__.strip("_") for kind in _factories))
    raise NotImplementedError(
        f"no bijector onto {constraint!r}: discrete supports have none, and continuous ones need "
        f"register_bijector(type(constraint)). There are bijectors onto: {known}."
    )


def register_bijector(*kinds: type[Constraint]) -> Callable[[Factory], Factory]:
    """Decorates the function that makes the bijector onto constraints of these types (and their subtypes).

    Args:
        kinds: Types of constraints; those of torch's singletons are `type(constraints.positive_definite)` and so on.

    Raises:
        TypeError: One is not a type of constraint.

    Example:
        >>> from posterity.bijectors import Scale, bijector_to, constraints, register_bijector
        >>> class Doubled(constraints.Constraint):
        ...     pass
        >>> @register_bijector(Doubled)
        ... def _onto_doubled(constraint):
        ...     return Scale(2.0)
        >>> bijector_to(Doubled())
        Scale(scale=2.0)
    """
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, Constraint):
            raise TypeError(f"register_bijector takes types of constraints, not {kind!r}; of a singleton, its type().")

    def register(factory: Factory) -> Factory:
        _factories.update(dict.fromkeys(kinds, factory))
        return factory

    return register


def register_with_torch(*kinds: type[Constraint]) -> None:
    """Makes `torch.distributions.biject_to` and `transform_to` know constraints through `bijector_to`."""
    for kind in kinds:
        biject_to.register(kind, bijector_to)
        transform_to.register(kind, bijector_to)


@register_bijector(type(constraints.real))
def _onto_real(constraint: Any) -> Bijector:
    return Identity()


@register_bijector(constraints.independent)
def _onto_independent(constraint: Any) -> Bijector:
    bijector, ndims = bijector_to(constraint.base_constraint), constraint.reinterpreted_batch_ndims
    return Independent(bijector, ndims) if ndims else bijector


@register_bijector(constraints.greater_than, constraints.greater_than_eq)
def _onto_upper_half(constraint: Any) -> Bijector:
    return Exp() if _is_number(constraint.lower_bound, 0) else HalfLine(constraint.lower_bound)


@register_bijector(constraints.less_than)
def _onto_lower_half(constraint: Any) -> Bijector:
    return HalfLine(constraint.upper_bound, above=False)


@register_bijector(constraints.interval, constraints.half_open_interval)
def _onto_interval(constraint: Any) -> Bijector:
    return Sigmoid(constraint.lower_bound, constraint.upper_bound)


@register_bijector(type(constraints.simplex))
def _onto_simplex(constraint: Any) -> Bijector:
    return StickBreaking()


@register_bijector(type(constraints.ordered))
def _onto_ordered(constraint: Any) -> Bijector:
    return Ascending()


@register_bijector(type(constraints.positive_ordered))
def _onto_positive_ordered(constraint: Any) -> Bijector:
    return Chain([Exp(), CumSum()])


@register_bijector(type(constraints.sphere))
def _onto_sphere(constraint: Any) -> Bijector:
    return UnitVector()


@register_bijector(type(constraints.lower_triangular))
def _onto_lower_triangular(constraint: Any) -> Bijector:
    return FillTriangular()


@register_bijector(type(constraints.lower_cholesky))
def _onto_cholesky_factors(constraint: Any) -> Bijector:
    return FillScaleTriL(Exp(), diagonal_shift=0.0)


@register_bijector(type(constraints.positive_definite), type(constraints.positive_semidefinite))
def _onto_positive_definite(constraint: Any) -> Bijector:
    return Chain([FillScaleTriL(Exp(), diagonal_shift=0.0), CholeskyOuterProduct()])


@register_bijector(type(constraints.corr_cholesky))
def _onto_correlations(constraint: Any) -> Bijector:
    return CorrCholesky()


@register_bijector(constraints.MixtureSameFamilyConstraint)
def _onto_mixture(constraint: Any) -> Bijector:
    return bijector_to(constraint.base_constraint)


@register_bijector(constraints.cat)
def _onto_blocks(constraint: Any) -> Bijector:
    parts = [bijector_to(c) for c in constraint.cseq]
    output = constraint.lengths
    lengths = [_input_length(part, length, constraint.dim) for part, length in zip(parts, output, strict=True)]
    return _of_rank(Concat(parts, lengths, constraint.dim), constraint)


@register_bijector(constraints.stack)
def _onto_slices(constraint: Any) -> Bijector:
    return _of_rank(Stack([bijector_to(c) for c in constraint.cseq], constraint.dim), constraint)


register_with_torch(type(constraints.ordered), type(constraints.positive_ordered), type(constraints.sphere))


def _of_rank(bijector: Bijector, constraint: Constraint) -> Bijector:
    missing = constraint.event_dim - bijector.codomain.event_dim
    return Independent(bijector, missing) if missing > 0 else bijector


def _input_length(part: Bijector, length: int, dim: int) -> int:
    rank = part.codomain.event_dim
    inside = dim < 0 and -dim <= rank
    return part.inverse_shape((length,) * rank)[dim] if inside else length  # type: ignore[arg-type]


def _is_number(bound: Any, number: float) -> bool:
    return isinstance(bound, int | float) and bound == number
