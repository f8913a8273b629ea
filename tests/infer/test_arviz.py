"""Draws go to ArviZ with their data, dimensions and log likelihood; LOO and WAIC come back as by hand."""

import sys

import arviz
import numpy as np
import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Predictive, loo, to_arviz, waic

Y = torch.tensor([0.3, -1.2, 2.0, 0.9, 1.7], dtype=torch.float64)


def model(y=None):
    loc = pt.sample("loc", dist.Normal(torch.zeros((), dtype=torch.float64), 2.0))
    pt.factor("nothing", 0.0 * loc)
    with pt.plate("data", len(Y)):
        z = pt.sample("z", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))
        mean = pt.deterministic("mean", loc + 0.0 * z[..., 0])
        return pt.sample("y", dist.Normal(mean, 1.0), obs=y)


def posterior_draws(number=400):
    generator = torch.Generator().manual_seed(0)
    precision = 1 / 4 + len(Y)
    loc = Y.sum() / precision + torch.randn(number, generator=generator, dtype=torch.float64) / precision**0.5
    return {"loc": loc, "z": torch.randn(number, len(Y), 2, generator=generator, dtype=torch.float64)}


DRAWS = posterior_draws()


def test_draws_come_back_chain_by_chain():
    data = to_arviz(DRAWS, num_chains=4)
    assert data.groups() == ["posterior"]
    for name, values in DRAWS.items():
        stored = data.posterior[name].values
        assert stored.shape == (4, 100, *values.shape[1:])
        np.testing.assert_array_equal(stored.reshape(values.shape), values.numpy())
        np.testing.assert_array_equal(stored[1], values[100:200].numpy())


def test_the_model_brings_data_dimensions_and_log_likelihood():
    data = to_arviz(DRAWS, model=model, args=(Y,), num_chains=2)
    np.testing.assert_array_equal(data.observed_data["y"].values, Y.numpy())
    assert data.observed_data["y"].dims == ("data",)
    assert data.posterior["z"].dims == ("chain", "draw", "data", "z_dim_1")
    expected = torch.distributions.Normal(DRAWS["loc"].unsqueeze(-1), 1.0).log_prob(Y)
    assert list(data.log_likelihood) == ["y"]
    assert data.log_likelihood["y"].dims == ("chain", "draw", "data")
    np.testing.assert_allclose(data.log_likelihood["y"].values.reshape(400, 5), expected.numpy())
    assert "log_likelihood" not in to_arviz(DRAWS, model=model, args=(Y,), log_likelihood=False).groups()


def test_keyword_arguments_reach_the_model():
    data = to_arviz(DRAWS, model=model, kwargs={"y": Y})
    assert data.log_likelihood["y"].shape == (1, 400, 5)


def test_prior_and_predictions_have_their_groups():
    prior = Predictive(model, num_samples=30, return_sites=["loc", "y"], seed=0)()
    predictions = Predictive(model, DRAWS, return_sites=["y"], seed=0)()
    stats = {"diverging": torch.zeros(400, dtype=torch.bool)}
    data = to_arviz(
        DRAWS,
        model=model,
        args=(Y,),
        prior=prior,
        posterior_predictive=predictions,
        sample_stats=stats,
        num_chains=4,
    )
    assert data.prior["loc"].shape == (1, 30)
    assert data.prior_predictive["y"].dims == ("chain", "draw", "data")
    assert data.posterior_predictive["y"].shape == (4, 100, 5)
    assert data.sample_stats["diverging"].shape == (4, 100)
    assert list(to_arviz(prior=prior).prior) == ["loc", "y"]


def test_a_file_keeps_all(tmp_path):
    to_arviz(DRAWS, model=model, args=(Y,), num_chains=4).to_netcdf(str(tmp_path / "data.nc"))
    again = arviz.from_netcdf(str(tmp_path / "data.nc"))
    np.testing.assert_array_equal(again.posterior["loc"].values.reshape(-1), DRAWS["loc"].numpy())


def log_likelihood_by_hand():
    return torch.distributions.Normal(DRAWS["loc"].unsqueeze(-1), 1.0).log_prob(Y)


def test_waic_is_the_log_predictive_density_less_the_variance():
    found = waic(to_arviz(DRAWS, model=model, args=(Y,), num_chains=4), pointwise=True)
    terms = log_likelihood_by_hand()
    density = terms.logsumexp(0) - torch.tensor(400.0).double().log()
    penalty = terms.var(0, correction=0)
    parts = density - penalty
    assert found.elpd_waic == pytest.approx(parts.sum().item())
    assert found.p_waic == pytest.approx(penalty.sum().item())
    assert found.se == pytest.approx((5 * parts.var(correction=0)).sqrt().item())
    np.testing.assert_allclose(found.waic_i.values, parts.numpy())


def test_loo_is_the_predictive_density_of_each_observation_by_the_others():
    found = loo(to_arviz(DRAWS, model=model, args=(Y,), num_chains=4), pointwise=True)
    terms = log_likelihood_by_hand()
    density = (terms.logsumexp(0) - torch.tensor(400.0).double().log()).sum().item()
    assert found.p_loo == pytest.approx(density - found.elpd_loo)
    # The predictive distribution of one observation given the others is normal.
    precision = 1 / 4 + len(Y) - 1
    exact = torch.distributions.Normal((Y.sum() - Y) / precision, (1 + 1 / precision) ** 0.5).log_prob(Y)
    # Importance sampling's error, observation by observation, by the delta method; the weights are 1 / p(y_i | loc).
    weights = (-terms).softmax(0)
    error = (weights.square() * (terms.exp() / exact.exp() - 1).square()).sum(0).sqrt()
    assert (torch.from_numpy(found.loo_i.values.copy()) - exact).abs().sub(5 * error).max() < 0
    assert (found.pareto_k.values < 0.7).all()
    deviance = loo(to_arviz(DRAWS, model=model, args=(Y,), num_chains=4), scale="deviance")
    assert deviance.elpd_loo == pytest.approx(-2 * found.elpd_loo)


def test_the_site_is_named_where_there_are_several():
    terms = log_likelihood_by_hand()
    data = to_arviz(DRAWS, log_likelihood={"y": terms, "x": 2 * terms})
    with pytest.raises(TypeError, match="several log likelihood arrays"):
        waic(data)
    with pytest.raises(TypeError, match="several log likelihood arrays"):
        loo(data)
    assert "elpd_waic" in str(waic(data, site="y"))
    assert waic(data, site="y").elpd_waic == pytest.approx(waic(to_arviz(DRAWS, model=model, args=(Y,))).elpd_waic)


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(ValueError, match="give draws"):
        to_arviz()
    with pytest.raises(ValueError, match=r"'loc' of posterior has shape \(400,\), which are no draws of 3 chains"):
        to_arviz(DRAWS, num_chains=3)
    with pytest.raises(ValueError, match="num_chains must be a whole number of at least 1, not 0"):
        to_arviz(DRAWS, num_chains=0)


@pytest.mark.parametrize("function", [to_arviz, loo, waic])
def test_without_arviz_it_is_said_what_to_install(function, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=rf"{function.__name__} needs ArviZ: pip install 'posterity\[arviz\]'"):
        function(DRAWS)
