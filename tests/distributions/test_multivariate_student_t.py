"""What is particular to Student's t over vectors: which moments exist, and its ends."""

import math

import pytest
import torch
from scipy import stats

from posterity.distributions import MultivariateNormal, MultivariateStudentT

TRIL = torch.tensor([[1.2, 0.0], [-0.4, 0.7]], dtype=torch.float64)
LOC = torch.tensor([0.5, -1.0], dtype=torch.float64)


def test_log_density_agrees_with_scipy():
    x = torch.randn(6, 2, dtype=torch.float64)
    for df in (0.3, 4.0, 60.0):
        exact = stats.multivariate_t(LOC.numpy(), (TRIL @ TRIL.T).numpy(), df=df).logpdf(x.numpy())
        torch.testing.assert_close(MultivariateStudentT(df, LOC, TRIL).log_prob(x), torch.tensor(exact))


def test_moments_exist_where_there_are_enough_degrees_of_freedom():
    d = MultivariateStudentT(torch.tensor([0.5, 1.5, 4.0], dtype=torch.float64), LOC, TRIL)
    assert bool(d.mean[0].isnan().all())
    torch.testing.assert_close(d.mean[1:], LOC.expand(2, 2))
    assert bool(d.variance[0].isnan().all())
    assert d.variance[1].tolist() == [math.inf, math.inf]
    torch.testing.assert_close(d.covariance_matrix[2], 2 * TRIL @ TRIL.T)
    torch.testing.assert_close(d.variance[2], d.covariance_matrix[2].diagonal())
    assert bool(d.covariance_matrix[:2].isnan().all())


def test_many_degrees_of_freedom_give_the_normal_distribution():
    for dtype in (torch.float32, torch.float64):
        d = MultivariateStudentT(1e30, LOC.to(dtype), TRIL.to(dtype))
        normal = MultivariateNormal(LOC.to(dtype), scale_tril=TRIL.to(dtype))
        x = torch.randn(5, 2, dtype=dtype)
        torch.testing.assert_close(d.log_prob(x), normal.log_prob(x))
        torch.testing.assert_close(d.entropy(), normal.entropy())


def test_draws_are_finite_with_hardly_any_degrees_of_freedom():
    draws = MultivariateStudentT(1e-3, torch.zeros(2), torch.eye(2)).sample((1000,))
    assert bool(draws.isfinite().all())
    assert float(draws.abs().max()) > 1e20


def test_a_factor_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"scale_tril of MultivariateStudentT must have the shape \[\*batch, 2, 2\]"):
        MultivariateStudentT(3.0, torch.zeros(2), torch.eye(3))
