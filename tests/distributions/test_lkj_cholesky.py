"""What is particular to Cholesky factors of correlations: any size, the ends of the concentration, and the fit."""

import pytest
import torch

from posterity.distributions import LKJCholesky


@pytest.mark.parametrize("dim", [2, 5, 30])
def test_densities_are_torchs(dim):
    concentration = torch.tensor([0.3, 1.0, 40.0], dtype=torch.float64)
    x = torch.distributions.LKJCholesky(dim, torch.tensor(1.0, dtype=torch.float64)).sample((4, 1))
    exact = torch.distributions.LKJCholesky(dim, concentration).log_prob(x)
    torch.testing.assert_close(LKJCholesky(dim, concentration).log_prob(x), exact, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("concentration", [1e-2, 1.0, 1e6])
def test_draws_in_single_precision_are_factors_of_correlations(concentration):
    d = LKJCholesky(12, torch.tensor(concentration))
    draws = d.sample((400,))
    assert bool(d.support.check(draws).all())
    assert bool(d.log_prob(draws).isfinite().all())


def test_the_mode_is_the_identity_where_the_density_is_bounded():
    mode = LKJCholesky(3, torch.tensor([0.9, 1.0, 5.0])).mode
    assert bool(mode[0].isnan().all())
    torch.testing.assert_close(mode[1:], torch.eye(3).expand(2, 3, 3))


def test_the_fit_has_the_mean_log_determinant_of_the_data():
    data = LKJCholesky(4, torch.tensor(2.5, dtype=torch.float64)).sample((300,))
    fitted = LKJCholesky.fit(data)
    fitted.concentration.requires_grad_()
    (slope,) = torch.autograd.grad(fitted.log_prob(data).mean(), fitted.concentration)
    assert float(slope) == pytest.approx(0, abs=1e-10)
    with pytest.raises(ArithmeticError, match="LKJCholesky.fit found no maximum of the likelihood"):
        LKJCholesky.fit(torch.eye(3).expand(5, 3, 3))
    with pytest.raises(ValueError, match="data of LKJCholesky must satisfy CorrCholesky"):
        LKJCholesky.fit(2 * torch.eye(3).expand(5, 3, 3))
    with pytest.raises(ValueError, match=r"data of LKJCholesky.fit must be square .* its shape is \(5, 3, 2\)"):
        LKJCholesky.fit(torch.zeros(5, 3, 2))


@pytest.mark.parametrize("dim", [1, 2.0, "3"])
def test_a_dim_that_is_no_size_is_refused(dim):
    with pytest.raises(ValueError, match="dim of LKJCholesky must be an integer of at least 2, but is"):
        LKJCholesky(dim)
