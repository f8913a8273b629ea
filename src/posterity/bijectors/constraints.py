"""The supports that bijectors map onto: torch's, and those that torch lacks."""

import torch
from torch import Tensor
from torch.distributions.constraints import (
    Constraint,
    MixtureSameFamilyConstraint,
    cat,
    corr_cholesky,
    greater_than,
    greater_than_eq,
    half_open_interval,
    independent,
    interval,
    less_than,
    lower_cholesky,
    lower_triangular,
    nonnegative,
    positive,
    positive_definite,
    positive_semidefinite,
    real,
    real_vector,
    simplex,
    square,
    stack,
    symmetric,
    unit_interval,
)

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "cat",
    "corr_cholesky",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "interval",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "nonnegative",
    "ordered",
    "positive",
    "positive_definite",
    "positive_ordered",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "sphere",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]


class _Ordered(Constraint):
    """Vectors whose entries increase strictly."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        rising: Tensor = (value[..., 1:] > value[..., :-1]).all(-1)
        return rising & ~value.isnan().any(-1)


class _PositiveOrdered(_Ordered):
    """Vectors of positive entries that increase strictly."""

    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value > 0).all(-1)


class _Sphere(Constraint):
    """Vectors of Euclidean length one, to within rounding."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        # As loose as torch's simplex in float32; sums of n squares round by about n eps at the worst.
        tolerance = max(1e-6, 4 * value.shape[-1] * torch.finfo(value.dtype).eps)
        return (value.square().sum(-1) - 1).abs() < tolerance


ordered = _Ordered()
positive_ordered = _PositiveOrdered()
sphere = _Sphere()
