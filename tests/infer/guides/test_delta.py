"""AutoDelta: the maximum of the posterior density."""

import torch

import posterity as pt
from posterity.handlers import trace
from posterity.infer import AutoDelta
from tests.infer.guides.fitting import maximise, regression, regression_model

dist = pt.distributions


def test_training_finds_the_mode_of_a_normal_posterior():
    known = regression()
    guide = maximise(regression_model, AutoDelta(regression_model), known.x, known.y)
    found = torch.cat([guide.median()["weights"], guide.median()["bias"].reshape(1)])
    torch.testing.assert_close(found, known.mean, rtol=1e-6, atol=1e-8)


def test_the_mode_is_that_of_the_density_in_constrained_space():
    def model():
        pt.sample("rate", dist.Gamma(torch.tensor(3.0, dtype=torch.float64), 2.0))

    guide = maximise(model, AutoDelta(model))
    torch.testing.assert_close(guide.median()["rate"].item(), 1.0, rtol=1e-6, atol=0)


def test_its_density_is_one_and_all_quantiles_are_the_point():
    guide = AutoDelta(lambda: pt.sample("p", dist.Dirichlet(torch.ones(3))))
    recorded = trace(guide).get_trace()
    assert recorded.log_prob_sum() == 0
    found = guide.quantiles([0.1, 0.9])["p"]
    assert torch.equal(found, recorded["p"].value.detach().expand(2, 3))
    assert torch.equal(guide.sample_posterior((2,))["p"], found)
