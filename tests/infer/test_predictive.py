"""Predictions are draws from the program given draws of its latent variables, at once or one by one."""

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Predictive, log_likelihood, predictive
from tests.statistical import FALSE_ALARM, assert_mean


def regression(x, y=None):
    slope = pt.sample("slope", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
    with pt.plate("data", len(x)):
        mean = pt.deterministic("mean", slope * x)
        return pt.sample("y", dist.Normal(mean, 0.5), obs=y)


X = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
SLOPES = torch.linspace(-1, 1, 400, dtype=torch.float64)


@pytest.mark.parametrize("parallel", [True, False])
def test_predictions_follow_their_draws(parallel):
    found = Predictive(regression, {"slope": SLOPES}, parallel=parallel, seed=0)(X)
    assert found.keys() == {"mean", "y"}
    torch.testing.assert_close(found["mean"], SLOPES[:, None] * X)
    noise = (found["y"] - found["mean"]) / 0.5
    assert stats.kstest(noise.flatten().numpy(), stats.norm.cdf).pvalue > FALSE_ALARM
    assert len(noise.unique()) == noise.numel()


def test_the_prior_is_drawn_without_draws():
    found = Predictive(regression, num_samples=4000, seed=1)(X)
    assert stats.kstest(found["slope"].numpy(), stats.norm.cdf).pvalue > FALSE_ALARM
    assert_mean(found["y"].square(), X.square() + 0.25)


def test_a_guide_gives_each_draw_its_own():
    def guide(x, y=None):
        pt.sample("slope", dist.Normal(torch.full((), 3.0, dtype=x.dtype), 0.1))

    found = Predictive(regression, guide=guide, num_samples=2000, seed=1)(X)
    assert_mean(found["slope"], 3.0)
    torch.testing.assert_close(found["mean"], found["slope"][:, None] * X)


def test_the_same_seed_gives_the_same_and_chunks_change_only_the_stream(monkeypatch):
    whole = Predictive(regression, {"slope": SLOPES}, seed=0)(X)
    again = Predictive(regression, {"slope": SLOPES}, seed=0)(X)
    assert torch.equal(whole["y"], again["y"])
    monkeypatch.setattr(predictive, "_NUMBERS_AT_ONCE", 60)
    chunked = Predictive(regression, {"slope": SLOPES}, seed=0)(X)
    assert torch.equal(chunked["mean"], whole["mean"])
    assert chunked["y"].shape == whole["y"].shape


def test_observed_sites_stay_data_and_sites_can_be_chosen():
    y = torch.zeros(3, dtype=X.dtype)
    assert Predictive(regression, {"slope": SLOPES})(X, y=y).keys() == {"mean"}
    chosen = Predictive(regression, {"slope": SLOPES}, return_sites=["y", "slope"])(X, y=y)
    assert torch.equal(chosen["y"], y.expand(400, 3))
    assert torch.equal(chosen["slope"], SLOPES)


def test_a_program_that_branches_on_values_runs_draw_by_draw():
    def branching():
        z = pt.sample("z", dist.Normal(0.0, 1.0))
        return pt.sample("w", dist.Normal(100.0 if z > 0 else -100.0, 1.0))

    found = Predictive(branching, num_samples=30, seed=0)()
    assert torch.equal(found["w"] > 0, found["z"] > 0)


def test_a_program_without_chance():
    found = Predictive(lambda: pt.deterministic("two", torch.tensor(2.0)), num_samples=3)()
    assert found["two"].tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("parallel", [True, False])
def test_log_likelihoods_are_the_densities_of_the_data(parallel):
    y = torch.tensor([0.5, 0.0, 1.0], dtype=X.dtype)
    found = log_likelihood(regression, {"slope": SLOPES}, X, y=y, parallel=parallel)
    torch.testing.assert_close(found["y"], dist.Normal(SLOPES[:, None] * X, 0.5).log_prob(y))


def test_errors():
    with pytest.raises(ValueError, match="different numbers of draws"):
        Predictive(regression, {"a": torch.zeros(3), "b": torch.zeros(4)})
    with pytest.raises(ValueError, match="give num_samples"):
        Predictive(regression)
    with pytest.raises(ValueError, match="num_samples must be a whole number"):
        Predictive(regression, num_samples=0)
    with pytest.raises(ValueError, match="there are no draws"):
        Predictive(regression, {"slope": torch.zeros(0)})
    with pytest.raises(ValueError, match="num_samples is 3, but there are 400"):
        Predictive(regression, {"slope": SLOPES}, num_samples=3)
    with pytest.raises(TypeError, match=r"must be a tensor \[num_samples"):
        Predictive(regression, {"slope": 1.0})
    with pytest.raises(ValueError, match=r"draws of 'slop', which the program does not have(.|\n)*slope"):
        Predictive(regression, {"slop": SLOPES})(X)
    with pytest.raises(ValueError, match="no site 'z' to return"):
        Predictive(regression, {"slope": SLOPES}, return_sites=["z"])(X)
    with pytest.raises(TypeError, match="a list of names"):
        Predictive(regression, {"slope": SLOPES}, return_sites="y")
    with pytest.raises(ValueError, match="not both"):
        Predictive(regression, {"slope": SLOPES}, guide=lambda x: None)


def test_draws_that_would_spread_over_the_site_are_refused():
    def model():
        pt.sample("z", dist.Normal(torch.zeros(3), 1.0))

    for shape in ((3, 1), (4,)):
        with pytest.raises(ValueError, match=r"site 'z' has shape .*, which does not fit, or would spread"):
            pt.infer.Predictive(model, {"z": torch.zeros(5, *shape)}, return_sites=["z"])()
