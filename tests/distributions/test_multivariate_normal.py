"""What is particular to normal vectors: the three matrices, the KL between full and low rank, and few draws."""

import math

import pytest
import torch

from posterity.distributions import LowRankMultivariateNormal, MultivariateNormal, kl_divergence
from posterity.runtime import without_validation

TRIL = torch.tensor([[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.9, 2.0]], dtype=torch.float64)
LOC = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0.2], [-3.0, 0.0], [0.5, 0.7]], dtype=torch.float64)
DIAGONAL = torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64)
SHIFTED = LowRankMultivariateNormal(-LOC, FACTOR, DIAGONAL)


def test_covariance_precision_and_factor_say_the_same():
    covariance = TRIL @ TRIL.T
    given = {"covariance_matrix": covariance, "precision_matrix": covariance.inverse(), "scale_tril": TRIL}
    x = torch.randn(7, 3, dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(LOC, covariance).log_prob(x)
    for name, matrix in given.items():
        d = MultivariateNormal(LOC, **{name: matrix})
        torch.testing.assert_close(d.log_prob(x), expected)
        for other, value in given.items():
            torch.testing.assert_close(getattr(d, other), value)
            torch.testing.assert_close(getattr(d.expand((2,)), other), value.expand(2, 3, 3))
        torch.testing.assert_close(d.variance, covariance.diagonal())


def test_one_factor_serves_a_batch_of_means():
    d = MultivariateNormal(torch.zeros(5, 1, 3, dtype=torch.float64), scale_tril=TRIL)
    assert d._unbroadcasted_scale_tril.shape == (3, 3)
    assert (d.batch_shape, d.scale_tril.shape) == ((5, 1), (5, 1, 3, 3))
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(d.log_prob(x), MultivariateNormal(LOC * 0, scale_tril=TRIL).log_prob(x))
    batch = MultivariateNormal(LOC, scale_tril=torch.stack([TRIL, 2 * TRIL]).unsqueeze(1))
    torch.testing.assert_close(batch.log_prob(x.expand(2, 5, 4, 3)[:, :2])[1, 1, 0], batch.log_prob(x[1, 1, 0])[1, 0])
    assert batch.sample((6,)).shape == (6, 2, 1, 3)


@pytest.mark.parametrize("p", [MultivariateNormal(LOC, scale_tril=TRIL), SHIFTED], ids=["full", "low rank"])
@pytest.mark.parametrize("q", [MultivariateNormal(-LOC, scale_tril=2 * TRIL), SHIFTED], ids=["full", "low rank"])
def test_kl_between_full_and_low_rank_is_that_of_their_covariances(p, q):
    dense = [torch.distributions.MultivariateNormal(d.loc, d.covariance_matrix) for d in (p, q)]
    exact = torch.distributions.kl_divergence(*dense)
    torch.testing.assert_close(p.kl_divergence(q), exact)
    torch.testing.assert_close(p.expand((4,)).kl_divergence(q), exact.expand(4))
    # torch's own distributions are met through the names that its formulas look for.
    torch.testing.assert_close(torch.distributions.kl_divergence(p, dense[1]), exact)
    torch.testing.assert_close(torch.distributions.kl_divergence(dense[0], q), exact)
    assert float(kl_divergence(p, p)) == pytest.approx(0, abs=1e-12)


def test_low_rank_matrices_agree_with_each_other():
    dense = FACTOR @ FACTOR.T + DIAGONAL.diag()
    d = SHIFTED
    for batch in (d, d.expand((2,))):
        torch.testing.assert_close(batch.covariance_matrix, dense.expand(*batch.batch_shape, 3, 3))
        torch.testing.assert_close(batch.precision_matrix, dense.inverse().expand(*batch.batch_shape, 3, 3))
        torch.testing.assert_close(batch.scale_tril @ batch.scale_tril.mT, batch.covariance_matrix)
        torch.testing.assert_close(batch.variance, dense.diagonal().expand(*batch.batch_shape, 3))


def test_low_rank_densities_survive_factors_far_larger_than_the_noise():
    # Woodbury's identity as it stands subtracts two numbers near 1e9 here, in single precision.
    factor, diagonal = 1e3 * FACTOR[:, :1], 1e-3 * DIAGONAL
    x = 1e3 * FACTOR[:, 0] + torch.tensor([0.01, -0.02, 0.03], dtype=torch.float64)
    x = x.float().double()
    rounded = [t.float().double() for t in (factor, diagonal)]
    exact = LowRankMultivariateNormal(LOC * 0, *rounded).log_prob(x)
    dense = MultivariateNormal(LOC * 0, rounded[0] @ rounded[0].T + rounded[1].diag()).log_prob(x)
    torch.testing.assert_close(exact, dense, rtol=1e-4, atol=0)
    ours = LowRankMultivariateNormal(torch.zeros(3), factor.float(), diagonal.float()).log_prob(x.float())
    # Entries near 3000 are rounded to 1e-4, where the noise is 0.01: a percent of a squared distance of order one.
    assert float(ours) == pytest.approx(float(exact), abs=0.5)


def test_covariances_are_checked_under_vmap():
    covariance = torch.stack([torch.eye(2), 4 * torch.eye(2)])
    values = torch.vmap(lambda c: MultivariateNormal(torch.zeros(2), c).log_prob(torch.zeros(2)))(covariance)
    torch.testing.assert_close(values, -math.log(2 * math.pi) - torch.tensor([0.0, math.log(4)]))
    with pytest.raises(ValueError, match="covariance_matrix of MultivariateNormal must satisfy PositiveDefinite"):
        torch.vmap(lambda c: MultivariateNormal(torch.zeros(2), c).loc)(-covariance)


def test_fit_is_the_sample_mean_and_covariance():
    data = torch.randn(9, 2, 3, dtype=torch.float64)
    d = MultivariateNormal.fit(data)
    for i in range(2):
        torch.testing.assert_close(d.covariance_matrix[i], torch.cov(data[:, i].T, correction=0))
    with pytest.raises(ValueError, match="data of MultivariateNormal.fit lie in a hyperplane.* at least 3 draws"):
        MultivariateNormal.fit(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
    with pytest.raises(ValueError, match="rank of LowRankMultivariateNormal.fit must lie between 1 and 2, but is 3"):
        LowRankMultivariateNormal.fit(data, rank=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultivariateNormal(torch.zeros(2)), "give exactly one of them"),
        (lambda: MultivariateNormal(torch.zeros(2), torch.eye(2), scale_tril=torch.eye(2)), "give exactly one of them"),
        (
            lambda: MultivariateNormal(torch.zeros(2), torch.eye(3)),
            r"covariance_matrix of MultivariateNormal must have the shape \[\*batch, 2, 2\].*but its shape is \(3, 3\)",
        ),
        (lambda: MultivariateNormal(0.0, torch.eye(1)), "loc of MultivariateNormal must have at least 1 dimensions"),
        (
            lambda: MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
            "covariance_matrix of MultivariateNormal must satisfy PositiveDefinite",
        ),
        (
            lambda: MultivariateNormal(torch.zeros(2), precision_matrix=-torch.eye(2)),
            "precision_matrix of MultivariateNormal must satisfy PositiveDefinite",
        ),
        (
            lambda: LowRankMultivariateNormal(torch.zeros(2), torch.ones(3, 1), torch.ones(2)),
            r"cov_factor of LowRankMultivariateNormal must have the shape \[\*batch, 2, 1\]",
        ),
        (
            lambda: LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.ones(3)),
            r"cov_diag of LowRankMultivariateNormal must have the shape \[\*batch, 2\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_derivatives_with_respect_to_the_covariance_are_torchs():
    covariance = (TRIL @ TRIL.T).requires_grad_()
    loc = LOC.clone().requires_grad_()
    x = torch.randn(5, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.linspace(0.5, 2, 10, dtype=torch.float64).reshape(5, 2)
    gradients = [
        torch.autograd.grad(
            (weights * family(loc, torch.stack([covariance, 2 * covariance])).log_prob(x)).sum(), (covariance, loc)
        )
        for family in (MultivariateNormal, torch.distributions.MultivariateNormal)
    ]
    torch.testing.assert_close(*gradients)


def test_a_matrix_without_a_factor_is_refused_or_has_no_density():
    indefinite = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    batch = torch.stack([indefinite, torch.eye(2)])
    with pytest.raises(ValueError, match="covariance_matrix"):
        MultivariateNormal(torch.zeros(2), indefinite)
    for name in ("covariance_matrix", "precision_matrix"):
        with without_validation():
            density = MultivariateNormal(torch.zeros(2), **{name: batch}).log_prob(torch.zeros(2))
        assert density.isnan().tolist() == [True, False]
