"""AutoLaplace: exact for normal posteriors, MacKay's formula for others."""

import pytest
import torch

import posterity as pt
from posterity.infer import AutoLaplace, AutoMultivariateNormal
from tests.infer.guides.fitting import maximise, regression, regression_model

dist = pt.distributions


def test_it_is_the_posterior_where_that_is_normal():
    known = regression()
    guide = maximise(regression_model, AutoLaplace(regression_model), known.x, known.y)
    normal = guide.laplace_approximation(known.x, known.y)
    assert isinstance(normal, AutoMultivariateNormal)
    posterior = normal.get_posterior()
    torch.testing.assert_close(posterior.mean, known.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(posterior.covariance_matrix, known.covariance, rtol=1e-9, atol=1e-12)


def test_the_mode_and_curvature_of_a_positive_variable_are_those_of_its_logarithm():
    # log p(u) = a u - b e^u + const has its maximum at log(a / b), and curvature a there.
    def model():
        pt.sample("rate", dist.Gamma(torch.tensor(3.0, dtype=torch.float64), 2.0))

    guide = maximise(model, AutoLaplace(model))
    torch.testing.assert_close(guide.median()["rate"].item(), 1.5, rtol=1e-6, atol=0)
    posterior = guide.laplace_approximation().get_posterior()
    torch.testing.assert_close(posterior.covariance_matrix.item(), 1 / 3, rtol=1e-6, atol=0)


def test_the_approximation_is_a_guide_that_can_be_drawn_from():
    guide = AutoLaplace(lambda: pt.sample("z", dist.Normal(torch.zeros(2), 3.0)), init=pt.infer.init_to_mean)
    draws = guide.laplace_approximation().sample_posterior((5,))
    assert draws["z"].shape == (5, 2)
    assert torch.equal(guide.quantiles([0.1, 0.9])["z"], torch.zeros(2, 2))


def test_a_point_that_is_no_maximum_is_refused():
    def model():
        pt.sample("z", dist.StudentT(1.0, torch.zeros(()), 1.0))

    guide = AutoLaplace(model, init=pt.infer.init_to_value(values={"z": 3.0}))
    with pytest.raises(ValueError, match=r"not at a maximum at the point of AutoLaplace: the least curvature is -0"):
        guide.laplace_approximation()


def test_marked_discrete_latents_are_summed_out():
    # p(z) = N(z; 0, 1) (e^(z - 1) + e^(-z - 1)) / 2, whose log has the curvature 1 - 1 = 0 at 0, plus 2 from the data.
    def model():
        z = pt.sample("z", dist.Normal(torch.zeros((), dtype=torch.float64), 1.0))
        sign = pt.sample(
            "sign", dist.Bernoulli(torch.tensor(0.5, dtype=torch.float64)), infer={"enumerate": "parallel"}
        )
        pt.factor("pull", (2 * sign - 1) * z - 1)
        pt.sample("x", dist.Normal(z, 0.5**0.5), obs=torch.zeros((), dtype=torch.float64))

    guide = AutoLaplace(model, init=pt.infer.init_to_feasible)
    torch.testing.assert_close(guide.laplace_approximation().get_posterior().covariance_matrix.item(), 0.5)


def test_a_random_subsample_is_refused():
    def model():
        z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        with pt.plate("data", 4, subsample_size=2):
            pt.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(2))

    with pytest.raises(ValueError, match="subsample"):
        AutoLaplace(model, init=pt.infer.init_to_feasible).laplace_approximation()
