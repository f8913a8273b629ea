"""Positive definite matrices: what is one, and the bijectors that belong to matrix supports."""

import pytest
import torch
from torch.distributions import LKJCholesky, Wishart

from posterity.bijectors import CholeskyOuterProduct, CorrCholesky, FillTriangular, bijector_to, constraints


def test_what_is_not_positive_definite_is_refused():
    bijector = CholeskyOuterProduct()
    with pytest.raises(ValueError, match=r"output of CholeskyOuterProduct must satisfy PositiveDefinite\(\)"):
        bijector.inverse(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match=r"output of CholeskyOuterProduct must satisfy PositiveDefinite\(\)"):
        bijector.inverse(torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"input of CholeskyOuterProduct must be square matrices"):
        bijector(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"output of CholeskyOuterProduct must be square matrices"):
        bijector.inverse(torch.zeros(2, 3))


@pytest.mark.parametrize(
    "constraint",
    [
        constraints.lower_triangular,
        constraints.lower_cholesky,
        constraints.positive_definite,
        constraints.positive_semidefinite,
        constraints.corr_cholesky,
        Wishart(torch.tensor(4.0), torch.eye(3)).support,
        LKJCholesky(3).support,
    ],
    ids=repr,
)
def test_matrix_supports_have_their_bijector(constraint):
    bijector = bijector_to(constraint)
    assert bijector.domain.event_dim == 1
    assert bijector.codomain.event_dim == constraint.event_dim
    x = torch.randn(4, *bijector.inverse_shape((3, 3)), generator=torch.Generator().manual_seed(0))
    y = bijector(x)
    assert bool(constraint.check(y).all())
    torch.testing.assert_close(bijector.inverse(y), x, rtol=1e-4, atol=1e-4)


def test_draws_of_matrix_distributions_can_be_unconstrained():
    torch.manual_seed(0)
    lkj, wishart = LKJCholesky(3, torch.tensor(2.0)), Wishart(torch.tensor(5.0), torch.eye(3))
    for distribution in (lkj, wishart):
        bijector = bijector_to(distribution.support)
        y = distribution.sample((4,))
        torch.testing.assert_close(bijector(bijector.inverse(y)), y, rtol=1e-4, atol=1e-4)


def test_the_bijector_of_a_support_reaches_small_scales():
    tiny = torch.eye(2) * 1e-8
    torch.testing.assert_close(
        bijector_to(constraints.lower_cholesky)(bijector_to(constraints.lower_cholesky).inverse(tiny)), tiny
    )
    assert isinstance(bijector_to(constraints.lower_triangular), FillTriangular)
    assert isinstance(bijector_to(constraints.corr_cholesky), CorrCholesky)
