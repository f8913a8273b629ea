"""What is particular to the Wishart distributions: the three matrices, hardly enough df, moments that do not exist."""

import math

import pytest
import torch
from scipy import stats

from posterity.distributions import InverseWishart, Wishart
from tests.statistical import FALSE_ALARM

TRIL = torch.tensor([[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.9, 2.0]], dtype=torch.float64)
MATRIX = TRIL @ TRIL.T


def test_covariance_precision_and_factor_say_the_same():
    x = Wishart(7.0, MATRIX).sample((5,))
    expected = torch.distributions.Wishart(torch.tensor(4.5).double(), MATRIX).log_prob(x)
    for given in ({"covariance_matrix": MATRIX}, {"precision_matrix": MATRIX.inverse()}, {"scale_tril": TRIL}):
        d = Wishart(4.5, **given)
        torch.testing.assert_close(d.log_prob(x), expected)
        torch.testing.assert_close(d.covariance_matrix, MATRIX)
    torch.testing.assert_close(
        InverseWishart(4.5, MATRIX).log_prob(x), InverseWishart(4.5, scale_tril=TRIL).log_prob(x)
    )


def test_the_inverse_of_a_wishart_draw_is_an_inverse_wishart_draw():
    x = Wishart(4.0, precision_matrix=MATRIX).sample((8000,)).inverse()
    y = InverseWishart(4.0, MATRIX).sample((8000,))
    for entry in ((0, 0), (2, 1)):
        assert stats.ks_2samp(x[:, *entry].numpy(), y[:, *entry].numpy()).pvalue > FALSE_ALARM
    # The density gains the Jacobian of the inverse, |X|^-(p + 1).
    x = x[:20]
    moved = Wishart(4.0, precision_matrix=MATRIX).log_prob(x.inverse()) - 4 * x.logdet()
    torch.testing.assert_close(InverseWishart(4.0, MATRIX).log_prob(x), moved)


@pytest.mark.parametrize("family", [Wishart, InverseWishart])
def test_draws_with_hardly_enough_degrees_of_freedom_are_positive_definite(family):
    d = family(torch.tensor(2.001), torch.eye(3))
    draws = d.sample((500,), generator=torch.Generator().manual_seed(0))
    assert bool(draws.isfinite().all())
    assert bool(d.support.check(draws).all())
    assert bool(d.log_prob(draws).isfinite().all())


def test_moments_that_do_not_exist_say_so():
    df = torch.tensor([4.0, 5.0, 6.0, 8.0], dtype=torch.float64)
    d = InverseWishart(df, MATRIX)
    assert d.mean[0].diagonal().tolist() == [math.inf] * 3
    assert bool(d.mean[0].tril(-1)[1:, 0].isnan().all())
    torch.testing.assert_close(d.mean[1], MATRIX)
    assert bool(d.variance[0].isnan().all())
    assert bool(d.variance[1:3].isinf().all())
    exact = torch.tensor(stats.invwishart(8, MATRIX.numpy()).var())
    torch.testing.assert_close(d.variance[3], exact)
    mode = Wishart(torch.tensor([3.5, 4.0, 6.0]).double(), MATRIX).mode
    assert bool(mode[0].isnan().all())
    torch.testing.assert_close(mode[1:], torch.stack([0 * MATRIX, 2 * MATRIX]))


@pytest.mark.parametrize("family", [Wishart, InverseWishart])
def test_the_mode_has_the_greatest_density(family):
    d = family(9.0, MATRIX)
    assert bool((d.log_prob(d.mode) > d.log_prob(d.sample((300,)))).all())


@pytest.mark.parametrize("family", [Wishart, InverseWishart])
def test_the_score_of_the_fit_vanishes(family):
    data = family(6.0, MATRIX).sample((200,))
    fitted = family.fit(data)
    df, tril = fitted.df.clone().requires_grad_(), fitted.scale_tril.clone().requires_grad_()
    for slope in torch.autograd.grad(family(df, scale_tril=tril).log_prob(data).mean(), (df, tril)):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-8)
    with pytest.raises(ArithmeticError, match="found no maximum of the likelihood"):
        family.fit(torch.eye(2).expand(5, 2, 2))
    with pytest.raises(ValueError, match=r"data of (Inverse)?Wishart must satisfy PositiveDefinite"):
        family.fit(-torch.eye(2).expand(5, 2, 2))
    with pytest.raises(ValueError, match=rf"data of {family.__name__}.fit must be square"):
        family.fit(torch.ones(5, 2, 3))


@pytest.mark.parametrize("family", [Wishart, InverseWishart])
def test_parameters_that_do_not_fit_are_refused(family):
    with pytest.raises(ValueError, match="give exactly one of them"):
        family(4.0)
    with pytest.raises(ValueError, match=r"must be square in its last two dimensions, but its shape is \(2, 3\)"):
        family(4.0, torch.ones(2, 3))
    with pytest.raises(ValueError, match=rf"df of {family.__name__} must satisfy GreaterThan\(lower_bound=2\)"):
        family(2.0, torch.eye(3))
