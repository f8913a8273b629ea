import pytest
import torch

from posterity.infer.mcmc.metric import DenseMetric, DiagonalMetric, LowRankMetric
from posterity.infer.mcmc.metric_estimation import estimate, unit_metric

SD = torch.tensor([1e-3, 1.0, 50.0], dtype=torch.float64)


def draws_of(number, chains=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(chains, number, 3, generator=generator, dtype=torch.float64) * SD


def covariance_of(metric):
    basis = torch.eye(3, dtype=torch.float64).unsqueeze(1).expand(3, 2, 3)
    columns = metric.forward(basis).permute(1, 2, 0)
    return columns @ columns.mT


def test_a_normal_law_with_independent_coordinates_is_found_from_two_draws_far_off():
    draws = 1e3 * SD + draws_of(2)
    found = estimate(unit_metric("diagonal", draws[:, 0]), draws, -draws / SD**2)
    torch.testing.assert_close(found.scale, SD.expand(2, 3))


def test_estimates_compose_with_the_metric_that_the_draws_were_made_in():
    old = DiagonalMetric(torch.full((2, 3), 4.0, dtype=torch.float64))
    draws = draws_of(50)
    found = estimate(old, draws / 4, -draws / SD**2 * 4)
    torch.testing.assert_close(found.scale, SD.expand(2, 3))


def test_without_gradients_the_variance_is_shrunk_towards_what_is():
    draws = draws_of(4000)
    found = estimate(unit_metric("diagonal", draws[:, 0]), draws, None)
    expected = ((4000 * draws.var(1) + 5) / 4005).sqrt()
    torch.testing.assert_close(found.scale, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_coordinate_that_tells_nothing_keeps_its_scale(value):
    draws = draws_of(20)
    gradients = -draws / SD**2
    gradients[..., 1] = value
    found = estimate(unit_metric("diagonal", draws[:, 0]), draws, gradients)
    torch.testing.assert_close(found.scale[:, 1], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(found.scale[:, 2], SD[2].expand(2))


def correlated(number):
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.95, 0.3, 0.0], [0.0, 0.0, 20.0]], dtype=torch.float64)
    covariance = mixing @ mixing.T
    noise = torch.randn(2, number, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draws = noise @ mixing.T
    return covariance, draws, -draws @ torch.linalg.inv(covariance)


def test_a_dense_metric_finds_the_covariance():
    covariance, draws, gradients = correlated(20000)
    found = estimate(unit_metric("dense", draws[:, 0]), draws, gradients)
    assert isinstance(found, DenseMetric)
    sd = covariance.diagonal().sqrt()
    scales = sd * sd.unsqueeze(-1)
    # Correlations have standard errors of at most 1 / sqrt(20000), variances twice that; the shrinkage adds 5 / 20000.
    for metric in (found, estimate(found, found.inverse(draws.transpose(0, 1)).transpose(0, 1), None)):
        error = (covariance_of(metric) - covariance) / scales
        assert error.abs().max() < 5.5 * 2 / 20000**0.5 + 0.001


def test_a_low_rank_metric_finds_the_correlated_plane():
    covariance, draws, gradients = correlated(400)
    found = estimate(unit_metric("low_rank", draws[:, 0]), draws, gradients)
    assert isinstance(found, LowRankMetric)
    # Gradients of a normal law make it nearly exact; the diagonal rule alone would leave a condition number of 40.
    whitened = torch.linalg.solve(covariance.expand(2, 3, 3), covariance_of(found))
    eigenvalues = torch.linalg.eigvals(whitened).real
    assert (eigenvalues.amax(-1) / eigenvalues.amin(-1)).max() < 2.2


def condition(metric, covariance):
    """The largest standard deviation of whitened draws over the smallest."""
    dim = len(covariance)
    basis = torch.eye(dim, dtype=torch.float64).unsqueeze(1)
    factor = metric.forward(basis)[:, 0].T
    values = torch.linalg.svdvals(torch.linalg.solve(factor, torch.linalg.cholesky(covariance)))
    return float(values[0] / values[-1])


def hundred_dimensional(rho, number):
    places = torch.arange(100, dtype=torch.float64)
    sd = torch.logspace(-1, 1, 100, dtype=torch.float64)
    covariance = sd.unsqueeze(-1) * rho ** (places.unsqueeze(-1) - places).abs() * sd
    noise = torch.randn(1, number, 100, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    draws = noise @ torch.linalg.cholesky(covariance).T
    return covariance, draws, -draws @ torch.linalg.inv(covariance)


@pytest.mark.parametrize("kind", ["dense", "low_rank"])
@pytest.mark.parametrize("number", [10, 33, 75])
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_a_window_shorter_than_the_dimension_makes_nothing_worse_than_a_diagonal_metric(kind, number, rho):
    covariance, draws, gradients = hundred_dimensional(rho, number)
    found, diagonal = (
        condition(estimate(unit_metric(k, draws[:, 0]), draws, gradients), covariance) for k in (kind, "diagonal")
    )
    assert found < diagonal + 1e-6
    if rho == 0:
        assert found == pytest.approx(1.0)


def test_gradients_make_a_dense_metric_exact_but_for_its_regularisation_once_there_are_more_draws_than_dimensions():
    covariance, draws, gradients = hundred_dimensional(0.9, 170)
    metric = unit_metric("dense", draws[:, 0])
    for _ in range(3):  # the windows after the first one begin where it ended
        whitened = metric.inverse(draws.transpose(0, 1)).transpose(0, 1)
        slopes = metric.transpose(gradients.transpose(0, 1)).transpose(0, 1)
        metric = estimate(metric, whitened, slopes)
    assert condition(metric, covariance) < 1 + 5 / (5 + 170)


def test_without_gradients_a_short_window_leaves_a_dense_metric_nearly_diagonal():
    covariance, draws, _ = hundred_dimensional(0.0, 20)
    found = estimate(unit_metric("dense", draws[:, 0]), draws, None)
    diagonal = estimate(unit_metric("diagonal", draws[:, 0]), draws, None)
    assert condition(found, covariance) < 1.5 * condition(diagonal, covariance)


@pytest.mark.parametrize("kind", ["dense", "low_rank"])
def test_a_window_with_a_gradient_that_is_not_finite_leaves_a_usable_metric(kind):
    _, draws, gradients = correlated(50)
    gradients[0, 3, 1] = torch.nan
    found = estimate(unit_metric(kind, draws[:, 0]), draws, gradients)
    assert all(part.isfinite().all() for part in found)
