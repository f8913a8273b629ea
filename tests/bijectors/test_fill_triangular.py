"""Vectors as triangular matrices: the order of the entries, the positive diagonal, and what does not fit."""

import pytest
import torch

from posterity.bijectors import Chain, Exp, FillScaleTriL, FillTriangular, Reshape, Softplus


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_order_is_that_of_tril_indices(n):
    x = torch.arange(1.0, n * (n + 1) // 2 + 1)
    y = FillTriangular()(x)
    assert torch.equal(y, y.tril())
    assert torch.equal(y[tuple(torch.tril_indices(n, n))], x)


def test_a_vector_that_fills_no_triangle_is_refused():
    with pytest.raises(ValueError, match=r"FillTriangular has 4 entries, .* 3 or 6"):
        FillTriangular()(torch.zeros(4))
    with pytest.raises(ValueError, match=r"FillScaleTriL has 5 entries, .* 3 or 6"):
        FillScaleTriL()(torch.zeros(5))


@pytest.mark.parametrize("bijector", [FillTriangular(), FillScaleTriL()])
def test_matrices_that_are_not_square_are_refused(bijector):
    with pytest.raises(ValueError, match=r"must be square matrices, but has events of shape \(2, 3\)"):
        bijector.inverse(torch.zeros(2, 3))


def test_the_diagonal_is_softplus_plus_a_small_shift():
    y = FillScaleTriL()(torch.tensor([-200.0, -3.0, 0.5]))
    expected = Softplus()(torch.tensor([-200.0, 0.5])) + 1e-5
    torch.testing.assert_close(y.diagonal(), expected, rtol=0, atol=0)
    assert y[1, 0] == -3.0


def test_a_diagonal_that_rounds_to_the_shift_has_a_finite_preimage():
    bijector = FillScaleTriL()
    x = torch.tensor([-80.0, 1.0, -90.0])
    assert bool(bijector.inverse(bijector(x)).isfinite().all())
    assert bool(bijector.inverse_log_det_jacobian(bijector(x)).isfinite())


def test_its_arguments_are_checked():
    with pytest.raises(TypeError, match="FillScaleTriL is made of Bijectors, not of str"):
        FillScaleTriL("softplus")
    with pytest.raises(ValueError, match="diagonal of FillScaleTriL must map single numbers"):
        FillScaleTriL(Chain([Reshape((4,), (4,)), Exp()]))
    with pytest.raises(ValueError, match="diagonal_shift of FillScaleTriL must not be negative, but is -1"):
        FillScaleTriL(diagonal_shift=-1.0)
