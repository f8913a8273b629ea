"""What is particular to the Dirichlet distribution: small concentrations, modes on the border, and its fit."""

import pytest
import torch

from posterity.distributions import Dirichlet


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_of_tiny_concentrations_are_positive_and_have_a_density(dtype):
    d = Dirichlet(torch.full((4,), 1e-3, dtype=dtype))
    draws = d.sample((500,))
    assert bool((draws > 0).all())
    assert bool(d.log_prob(draws).isfinite().all())
    # Nearly all mass is in one entry, each as often.
    assert float((draws.max(-1).values > 0.99).double().mean()) > 0.95


def test_the_mode_is_inside_on_a_face_or_at_a_vertex():
    assert Dirichlet(torch.tensor([2.0, 3.0, 2.0])).mode.tolist() == [0.25, 0.5, 0.25]
    assert Dirichlet(torch.tensor([0.5, 3.0, 3.0])).mode.tolist() == [0.0, 0.5, 0.5]
    assert Dirichlet(torch.tensor([0.5, 0.2])).mode.tolist() == [1.0, 0.0]
    assert Dirichlet(torch.ones(4)).mode.tolist() == [0.25] * 4
    inside = Dirichlet(torch.tensor([2.0, 3.0, 2.0]))
    assert bool((inside.log_prob(inside.mode) >= inside.log_prob(inside.sample((200,)))).all())


def test_the_covariance_is_that_of_draws():
    d = Dirichlet(torch.tensor([2.0, 3.0, 0.5], dtype=torch.float64))
    torch.testing.assert_close(d.covariance_matrix.diagonal(), d.variance)
    torch.testing.assert_close(d.covariance_matrix.sum(-1), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("concentration", [[0.02, 0.05, 0.3], [2.0, 3.0, 5.0], [1e5, 2e5, 3e5], [1e-2, 40.0, 900.0]])
def test_the_fit_has_the_mean_logarithms_of_the_data(concentration):
    data = Dirichlet(torch.tensor(concentration, dtype=torch.float64)).sample((400,))
    fitted = Dirichlet.fit(data).concentration
    expected = torch.digamma(fitted) - torch.digamma(fitted.sum())
    torch.testing.assert_close(expected, data.log().mean(0), rtol=1e-9, atol=1e-11)


def test_data_without_a_maximum_are_refused():
    with pytest.raises(ValueError, match="data of Dirichlet.fit must be positive, but hold zeros"):
        Dirichlet.fit(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    with pytest.raises(
        ArithmeticError, match="Dirichlet.fit found no maximum of the likelihood: the draws are all alike"
    ):
        Dirichlet.fit(torch.full((5, 2), 0.5))
    nearly = 0.5 + 1e-9 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    with pytest.raises(ArithmeticError, match="Dirichlet.fit did not converge"):
        Dirichlet.fit(nearly)
    with pytest.raises(ValueError, match="data of Dirichlet must satisfy Simplex"):
        Dirichlet.fit(torch.ones(5, 2))
    with pytest.raises(ValueError, match="concentration of Dirichlet must have at least 1 dimensions"):
        Dirichlet(torch.tensor(1.0))
