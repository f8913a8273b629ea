"""Which bijectors are affine, and what such a map makes of variances."""

from typing import cast

from torch import Tensor

from posterity.bijectors import (
    Bijector,
    Chain,
    CumSum,
    Householder,
    Identity,
    Independent,
    Invert,
    Permute,
    Reshape,
    ScalarAffine,
    Scale,
    ScaleMatvecDiag,
    ScaleMatvecLU,
    ScaleMatvecTriL,
    Shift,
    Transpose,
)
from posterity.distributions.base import Distribution

_STRETCHING = (Scale, ScalarAffine)
_REORDERING = (Permute, Transpose, Reshape)
_AFFINE = (Identity, Shift, *_STRETCHING, *_REORDERING, CumSum, Householder)
_AFFINE_MATRICES = (ScaleMatvecDiag, ScaleMatvecLU, ScaleMatvecTriL)


def is_affine(bijector: Bijector) -> bool:
    """Whether the map is affine, so that its log-det is constant.

    Example:
        >>> from posterity.bijectors import Exp
        >>> is_affine(Chain([Scale(2.0), Shift(1.0)])), is_affine(Chain([Exp(), Scale(2.0)]))
        (True, False)
    """
    if isinstance(bijector, Chain):
        return all(is_affine(part) for part in bijector.bijectors)
    if isinstance(bijector, Independent | Invert):
        return is_affine(bijector.bijector)
    return type(bijector) in (*_AFFINE, *_AFFINE_MATRICES)


def mapped_variance(bijector: Bijector, base: Distribution) -> Tensor | None:
    """The variances of the entries of an affine image; None where the map is not affine, or mixes entries."""
    if not is_affine(bijector) or _mixes(bijector):
        return None
    return _through(bijector, base.variance, inverted=False)


def _mixes(bijector: Bijector) -> bool:
    if isinstance(bijector, Chain):
        return any(_mixes(part) for part in bijector.bijectors)
    if isinstance(bijector, Independent | Invert):
        return _mixes(bijector.bijector)
    return type(bijector) not in (Identity, Shift, *_STRETCHING, *_REORDERING)


def _through(bijector: Bijector, variance: Tensor, *, inverted: bool) -> Tensor:
    if isinstance(bijector, Chain):
        for part in reversed(bijector.bijectors) if inverted else bijector.bijectors:
            variance = _through(part, variance, inverted=inverted)
        return variance
    if isinstance(bijector, Invert):
        return _through(bijector.bijector, variance, inverted=not inverted)
    if isinstance(bijector, Independent):
        return _through(bijector.bijector, variance, inverted=inverted)
    if isinstance(bijector, _STRETCHING):
        square = cast(Tensor, bijector.scale) ** 2
        return variance / square if inverted else variance * square
    if isinstance(bijector, _REORDERING):
        return bijector._inverse(variance) if inverted else bijector._forward(variance)
    return variance
