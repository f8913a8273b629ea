"""What is particular to the matrix normal distribution: Kronecker's product, and the fit of two factors."""

import pytest
import torch

from posterity.distributions import MatrixNormal, MultivariateNormal

ROW = torch.tensor([[1.1, 0.0], [0.6, 0.8]], dtype=torch.float64)
COLUMN = torch.tensor([[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.9, 2.0]], dtype=torch.float64)
LOC = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_it_is_a_normal_vector_with_the_kronecker_product_as_factor():
    d = MatrixNormal(LOC, ROW, COLUMN)
    flat = MultivariateNormal(LOC.reshape(-1), scale_tril=torch.kron(ROW, COLUMN))
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(d.log_prob(x), flat.log_prob(x.reshape(5, -1)))
    torch.testing.assert_close(d.variance.reshape(-1), flat.variance)
    torch.testing.assert_close(d.entropy(), flat.entropy())
    other = MatrixNormal(0 * LOC, 2 * ROW, COLUMN)
    flat_other = MultivariateNormal(0 * LOC.reshape(-1), scale_tril=torch.kron(2 * ROW, COLUMN))
    torch.testing.assert_close(d.kl_divergence(other), flat.kl_divergence(flat_other))


def test_the_fit_stands_still_and_has_rows_of_mean_variance_one():
    data = MatrixNormal(LOC, ROW, COLUMN).sample((30,))
    fitted = MatrixNormal.fit(data)
    assert float(fitted.scale_tril_row.square().sum(-1).mean()) == pytest.approx(1)
    leaves = [p.clone().requires_grad_() for p in (fitted.loc, fitted.scale_tril_row, fitted.scale_tril_column)]
    for slope in torch.autograd.grad(MatrixNormal(*leaves).log_prob(data).mean(), leaves):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not determine the covariances of rows and columns"):
        MatrixNormal.fit(torch.ones(4, 2, 3))
    with pytest.raises(ValueError, match=r"scale_tril_row of MatrixNormal must have the shape \[\*batch, 2, 2\]"):
        MatrixNormal(LOC, COLUMN, COLUMN)
    with pytest.raises(ValueError, match=r"scale_tril_column of MatrixNormal must have the shape \[\*batch, 3, 3\]"):
        MatrixNormal(LOC, ROW, ROW)
