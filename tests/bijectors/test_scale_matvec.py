"""Matrices times vectors: they are the matrices they say, with their determinants, and singular ones are refused."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from posterity.bijectors import Householder, InvertibleConv1x1, ScaleMatvecDiag, ScaleMatvecLU, ScaleMatvecTriL

MATRIX = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_triangular_matrix_of_a_normal_is_the_multivariate_normal():
    factor = MATRIX.tril() + 4 * torch.eye(4, dtype=torch.float64)
    base = Independent(Normal(torch.zeros(4, dtype=torch.float64), 1.0), 1)
    expected = MultivariateNormal(torch.zeros(4, dtype=torch.float64), scale_tril=factor)
    torch.testing.assert_close(ScaleMatvecTriL(factor)(base).log_prob(VECTORS), expected.log_prob(VECTORS))
    # What is above the diagonal is not read.
    torch.testing.assert_close(ScaleMatvecTriL(factor + MATRIX.triu(1))(VECTORS), ScaleMatvecTriL(factor)(VECTORS))


def test_any_matrix_is_reached_through_its_factors():
    leaf = MATRIX.clone().requires_grad_()
    bijector = ScaleMatvecLU.from_matrix(leaf)
    torch.testing.assert_close(bijector(VECTORS), VECTORS @ MATRIX.mT)
    log_det = bijector.forward_log_det_jacobian(VECTORS)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(MATRIX)[1].expand(5))
    log_det[0].backward()
    # The gradient of log |det A| is the transposed inverse.
    torch.testing.assert_close(leaf.grad, torch.linalg.inv(MATRIX).mT)


def test_reflections_keep_lengths_and_turn_space_over():
    for number in (1, 2, 3):
        vectors = torch.randn(number, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        matrix = Householder(vectors)(torch.eye(4, dtype=torch.float64)).mT
        torch.testing.assert_close(matrix @ matrix.mT, torch.eye(4, dtype=torch.float64))
        torch.testing.assert_close(torch.linalg.det(matrix).item(), (-1.0) ** number)
    v = vectors[0]
    torch.testing.assert_close(Householder(v[None])(v), -v)


def test_batches_of_matrices_take_batches_of_vectors():
    factors = torch.stack([MATRIX.tril(), 2 * MATRIX.tril()])
    y = ScaleMatvecTriL(factors)(VECTORS[:, None])
    assert y.shape == (5, 2, 4)
    torch.testing.assert_close(y[:, 1], 2 * y[:, 0])
    torch.testing.assert_close(ScaleMatvecTriL(factors).inverse(y), VECTORS[:, None].expand(5, 2, 4))


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"scale_diag of ScaleMatvecDiag must be a real floating tensor, not list"):
        ScaleMatvecDiag([1.0])
    with pytest.raises(ValueError, match=r"scale_diag of ScaleMatvecDiag must have the shape \[\*batch, n\]"):
        ScaleMatvecDiag(torch.tensor(1.0))
    with pytest.raises(ValueError, match="scale_diag of ScaleMatvecDiag must have no zeros"):
        ScaleMatvecDiag(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"scale_tril of ScaleMatvecTriL must have the shape .* has \(2, 3\)"):
        ScaleMatvecTriL(torch.ones(2, 3))
    with pytest.raises(ValueError, match="diagonal of scale_tril of ScaleMatvecTriL must have no zeros"):
        ScaleMatvecTriL(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"permutation of ScaleMatvecLU must hold each of 0 to n-1 once, for n = 2"):
        ScaleMatvecLU(torch.eye(2), (0, 2))
    with pytest.raises(ValueError, match="diagonal of lower_upper of ScaleMatvecLU must have no zeros"):
        ScaleMatvecLU(torch.zeros(2, 2), (0, 1))
    with pytest.raises(ValueError, match=r"must be one matrix, of shape \[n, n\], but has the shape \(3, 2, 2\)"):
        ScaleMatvecLU.from_matrix(torch.ones(3, 2, 2))
    with pytest.raises(ValueError, match=r"vectors of Householder must have the shape .* not \(2,\)"):
        Householder(torch.ones(2))
    with pytest.raises(ValueError, match="vectors of Householder must not be 0"):
        Householder(torch.zeros(1, 2))


@pytest.mark.parametrize(
    "bijector",
    [
        ScaleMatvecDiag(torch.ones(3)),
        ScaleMatvecTriL(torch.eye(3)),
        ScaleMatvecLU(torch.eye(3), (0, 1, 2)),
        Householder(torch.ones(1, 3)),
    ],
)
def test_vectors_of_another_size_are_refused(bijector):
    with pytest.raises(ValueError, match=r"maps vectors of 3 entries, but got events of shape \(2,\)"):
        bijector(torch.zeros(5, 2))


def test_a_convolution_multiplies_the_channels_at_every_place():
    torch.manual_seed(0)
    conv = InvertibleConv1x1(3)
    matrix = conv(torch.eye(3)[:, :, None, None])[..., 0, 0].mT
    # It starts as a rotation or reflection.
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3), rtol=0, atol=1e-5)
    images = torch.randn(2, 3, 4, 5)
    expected = torch.nn.functional.conv2d(images, matrix[:, :, None, None])
    torch.testing.assert_close(conv(images), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"events of shape \(2, 4, 4\), but dimension -3 must be of size 3"):
        conv(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="dim of InvertibleConv1x1 must be negative"):
        InvertibleConv1x1(3, dim=1)
