"""Sequential Monte Carlo finds the posterior and the evidence; with a fixed schedule the evidence is unbiased."""

import math
import subprocess
import sys
from functools import partial

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity import distributions as dist
from posterity.infer.annealing import effective_share, next_inverse_temperature
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis
from posterity.infer.sequential_monte_carlo import SMC
from tests.infer import evidence, killed_runs
from tests.statistical import FALSE_ALARM, assert_mean, quantile


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def conjugate(x):
    z = pt.sample("z", dist.Normal(double(0.0)[0], 1.0))
    pt.sample("x", dist.Normal(z, 0.3), obs=x)


X = double(1.5)[0]
EVIDENCE = dist.Normal(0.0, 1.09**0.5).log_prob(X)
LAW = stats.norm(float(X) / 1.09, (0.09 / 1.09) ** 0.5)


def smc(*args, seed=0, **options):
    return SMC(*args, seed=seed, progress=False, compile=False, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel": partial(HMC, num_steps=4), "num_steps": 4},
        {"waste_free": True, "num_steps": 9, "num_particles": 2000},
        {"resampling": "residual", "target_ess": 0.8},
    ],
    ids=["random walk", "HMC", "waste-free", "residual"],
)
def test_the_posterior_and_the_evidence_of_a_regression(options):
    x, y = evidence.regression_data(3)
    found = smc(evidence.regression, **{"num_particles": 1000, **options}).run(x, y)
    exact = evidence.regression_evidence(x, y)
    assert found.standard_error < 0.2
    assert (found.log_evidence - exact).abs() < quantile() * found.standard_error
    loc, covariance = evidence.regression_posterior(x, y)
    draws = found.get_samples()["weights"]
    # Waste-free particles come from chains of ten, whose points count for no less than one.
    count = len(draws) / 10 if options.get("waste_free") else len(draws)
    error = (covariance.diagonal() / count).sqrt()
    assert ((draws.mean(0) - loc).abs() < quantile(3) * error).all()
    ratio = draws.var(0) / covariance.diagonal()
    assert ((ratio - 1).abs() < quantile(3) * (2 / count) ** 0.5).all()
    assert found.temperatures[-1] == 1
    assert (found.temperatures[1:] < found.temperatures[:-1]).all()
    share = found.ess / len(draws)
    # Every stage but the last goes as far as it may.
    torch.testing.assert_close(
        share[:-1], torch.full_like(share[:-1], options.get("target_ess", 0.5)), rtol=0, atol=1e-3
    )
    assert share[-1] >= options.get("target_ess", 0.5) - 1e-3
    assert found.unconstrained.shape == draws.shape


def test_the_evidence_is_unbiased_where_nothing_adapts():
    options = {"num_particles": 30, "num_steps": 1, "target_ess": 0.6}
    pilot = smc(conjugate, seed=1, **options).run(X)
    assert len(pilot.schedule) > 2
    runs = [smc(conjugate, seed=2 + i, schedule=pilot.schedule, **options).run(X) for i in range(100)]
    ratios = torch.stack([run.log_evidence - EVIDENCE for run in runs]).exp()
    assert ratios.std() > 0.02
    assert_mean(ratios, 1.0)
    draws = torch.stack([run.samples["z"] for run in runs])
    # Weighted by the evidence, the means over particles are unbiased too.
    assert_mean(ratios * (draws.mean(1) - LAW.mean()), 0.0)


def test_the_stated_error_is_that_of_repeated_runs():
    options = {"num_particles": 100, "num_steps": 10}
    runs = [smc(conjugate, seed=100 + i, **options).run(X) for i in range(20)]
    scaled = torch.stack([(run.log_evidence - EVIDENCE) / run.standard_error for run in runs])
    # Squares of about standard normal numbers, give or take the noise of each stated error.
    lower, upper = stats.chi2.isf([1 - FALSE_ALARM / 2, FALSE_ALARM / 2], len(runs))
    assert 0.7 * lower < scaled.square().sum() < 1.5 * upper


def test_separate_modes_keep_their_shares():
    def two_modes(z):
        return torch.logaddexp(
            math.log(0.3) - 0.5 * (z + 6).square() / 0.04, math.log(0.7) - 0.5 * (z - 6).square() / 0.04
        )

    found = smc(
        log_likelihood=two_modes, prior=dist.Uniform(double(-10.0)[0], 10.0), num_particles=2000, target_ess=0.9
    ).run()
    right = float((found.samples["x"] > 0).double().mean())
    # Between modes nothing is exchanged: every stage resamples, which adds its own variance.
    error = (0.21 / 2000 * len(found.schedule)) ** 0.5
    assert abs(right - 0.7) < quantile() * error
    exact = math.log(0.2 * math.sqrt(2 * math.pi) / 20)
    assert abs(float(found.log_evidence) - exact) < quantile() * float(found.standard_error) + 0.05


def test_a_likelihood_and_priors_by_name_are_a_model():
    prior = {"rate": dist.Gamma(double(2.0)[0], 1.0), "loc": dist.Normal(double(0.0)[0], 1.0)}

    def log_likelihood(draw):
        return dist.Exponential(draw["rate"]).log_prob(double(0.5)[0]) + dist.Normal(draw["loc"], 1.0).log_prob(X)

    found = smc(log_likelihood=log_likelihood, prior=prior).run()
    # Of the rate: a gamma integral; of the mean: a normal one.
    exact = math.log(2 / 1.5**3) + float(dist.Normal(0.0, 2**0.5).log_prob(X))
    assert abs(float(found.log_evidence) - exact) < quantile() * float(found.standard_error)
    rates = found.get_samples()["rate"]
    assert stats.kstest(rates.numpy(), stats.gamma(3, scale=1 / 1.5).cdf).pvalue > FALSE_ALARM


def test_draws_without_a_likelihood_are_left_behind():
    def model():
        z = pt.sample("z", dist.Normal(double(0.0)[0], 1.0))
        pt.factor("wall", torch.where(z > 1.0, 0.0, -math.inf))

    found = smc(model).run()
    assert (found.samples["z"] > 1).all()
    exact = float(stats.norm.logsf(1))
    assert abs(float(found.log_evidence) - exact) < quantile() * float(found.standard_error)


def test_discrete_variables_are_summed_out():
    def model(x):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]), infer={"enumerate": "parallel"})
        loc = pt.sample("loc", dist.Normal(2 * z, 1.0))
        pt.sample("x", dist.Normal(loc, 1.0), obs=x)

    found = smc(model).run(X)
    parts = [math.log(p) + dist.Normal(mean, 2**0.5).log_prob(X) for p, mean in ((0.7, 0.0), (0.3, 2.0))]
    assert (found.log_evidence - torch.stack(parts).logsumexp(0)).abs() < quantile() * found.standard_error


def test_a_seed_gives_the_same_particles():
    first, second = (smc(conjugate, num_particles=50, num_steps=2, seed=4).run(X) for _ in range(2))
    assert torch.equal(first.unconstrained, second.unconstrained)
    third = smc(conjugate, num_particles=50, num_steps=2, seed=5).run(X)
    assert not torch.equal(first.unconstrained, third.unconstrained)


def test_compiled_densities_are_the_eager_ones(monkeypatch):
    from posterity.infer.mcmc import tempered

    monkeypatch.setattr(tempered, "capture", evidence.traced)
    options = {"num_particles": 20, "num_steps": 2, "seed": 0, "progress": False, "kernel": partial(HMC, num_steps=2)}
    compiled, eager = (SMC(conjugate, compile=flag, **options).run(X) for flag in (True, False))
    torch.testing.assert_close(compiled.unconstrained, eager.unconstrained, rtol=0, atol=1e-8)
    torch.testing.assert_close(compiled.log_evidence, eager.log_evidence)


def test_float32_models_give_float32_particles():
    def model(x):
        z = pt.sample("z", dist.Normal(0.0, 1.0))
        pt.sample("x", dist.Normal(z, 0.3), obs=x)

    found = smc(model, num_particles=200, num_steps=3).run(1.5)
    assert found.samples["z"].dtype == torch.float32
    assert (found.log_evidence - EVIDENCE).abs() < quantile() * found.standard_error


def test_the_next_temperature_leaves_the_wanted_share():
    energy = -torch.linspace(0, 100, 500, dtype=torch.float64).square()
    beta = next_inverse_temperature(energy, 0.0, 0.3)
    assert abs(float(effective_share(beta * energy)) - 0.3) < 1e-4
    further = next_inverse_temperature(energy, beta, 0.3)
    assert abs(further - 2 * beta) < 1e-5 * beta
    # Of particles half of which have no likelihood, the share of the other half.
    energy[250:] = -math.inf
    half = next_inverse_temperature(energy, 0.0, 0.3)
    assert abs(float(effective_share(half * energy)) - 0.15) < 1e-4
    with pytest.raises(FloatingPointError, match="not finite at any of the particles"):
        next_inverse_temperature(torch.full((3,), -math.inf), 0.0, 0.5)
    with pytest.raises(FloatingPointError, match="no step from the prior is small enough"):
        next_inverse_temperature(double(0.0, -1e300, -2e300), 0.5, 0.9)


def test_a_killed_run_goes_on_to_the_same_particles(tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-m", "tests.infer.killed_runs", "smc", str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    stages = len(torch.load(path / "state.pt", weights_only=True)["stages"])
    whole = killed_runs.smc().run(killed_runs.DATA[:3])
    assert 0 < stages < len(whole.schedule)
    found = killed_runs.smc(directory=path).run(killed_runs.DATA[:3])
    again = killed_runs.smc(directory=path).run(killed_runs.DATA[:3])  # there is nothing left to do
    for one in (found, again):
        for name in ("unconstrained", "log_evidence", "standard_error", "temperatures", "ess", "acceptance"):
            assert torch.equal(getattr(one, name), getattr(whole, name)), name
        assert torch.equal(one.schedule[0].metric[0], whole.schedule[0].metric[0])
        assert one.schedule[-1].tunings == whole.schedule[-1].tunings


def test_a_directory_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    options = {"num_particles": 20, "num_steps": 2, "directory": tmp_path}
    smc(conjugate, **options).run(X)
    with pytest.raises(ValueError, match="SMC: the directory .* holds another run, whose options were"):
        smc(conjugate, **{**options, "num_particles": 30}).run(X)
    with pytest.raises(ValueError, match="whose options were"):
        smc(conjugate, seed=1, **options).run(X)
    with pytest.raises(ValueError, match="SMC: the directory .* or the log density there was another"):
        smc(conjugate, **options).run(X + 1)
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"SMC: the file .*state.pt.*damaged"):
        smc(conjugate, **options).run(X)
    torch.save({"something": 1}, state)
    with pytest.raises(ValueError, match=r"SMC: the file .*state.pt.*damaged"):
        smc(conjugate, **options).run(X)


@pytest.mark.parametrize("waste_free", [False, True])
def test_the_summary_takes_particles_as_one_chain(waste_free):
    found = smc(conjugate, num_particles=1100, num_steps=10, waste_free=waste_free).run(X)
    assert found.get_samples(group_by_chain=True)["z"].shape == (1, 1100)
    summary = found.summary()["z"]
    exact = LAW.mean()
    assert abs(float(summary["mean"]) - exact) < quantile() * float(summary["mcse_mean"])
    # Ten steps of a random walk in one dimension hardly forget less than nine tenths; a walk's own points are alike.
    assert float(summary["ess_bulk"]) > (550 if not waste_free else 100)
    assert float(summary["ess_bulk"]) < (1500 if not waste_free else 900)


def test_particles_go_to_arviz():
    pytest.importorskip("arviz")
    data = smc(conjugate, num_particles=20, num_steps=2).run(X).to_arviz()
    assert sorted(data.groups()) == ["log_likelihood", "observed_data", "posterior"]
    assert data.posterior["z"].shape == (1, 20)


def test_bad_input_is_refused():
    for arguments in ({}, {"model": conjugate, "log_likelihood": conjugate}):
        with pytest.raises(TypeError, match="give either a model, or log_likelihood and prior"):
            smc(**arguments)
    with pytest.raises(TypeError, match="SMC: prior is missing"):
        smc(log_likelihood=conjugate)
    with pytest.raises(TypeError, match="SMC: log_likelihood is missing"):
        smc(prior=dist.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match="log_likelihood must be callable, not a int"):
        smc(log_likelihood=1, prior=dist.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match="prior must be a distribution, or distributions by name, but 'x' is a float"):
        smc(log_likelihood=conjugate, prior=1.0)
    with pytest.raises(TypeError, match="model must be callable, not a int"):
        smc(1)
    with pytest.raises(TypeError, match="kernel must be a function from a model to a kernel"):
        smc(conjugate, kernel=RandomWalkMetropolis(conjugate))
    with pytest.raises(TypeError, match="kernel made a Gibbs, but particles are moved"):
        smc(conjugate, kernel=lambda model: Gibbs(model=model))
    for name, number in (("num_particles", 1), ("num_steps", 0)):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least"):
            smc(conjugate, **{name: number})
    with pytest.raises(ValueError, match="target_ess must be between 0 and 1, not 1"):
        smc(conjugate, target_ess=1)
    with pytest.raises(ValueError, match="resampling must be one of 'systematic', 'stratified'"):
        smc(conjugate, resampling="none")
    with pytest.raises(ValueError, match="num_particles must be a multiple of num_steps \\+ 1 = 3, not 100"):
        smc(conjugate, waste_free=True, num_particles=100, num_steps=2)
    with pytest.raises(ValueError, match="schedule must end at the posterior"):
        smc(conjugate, schedule=())
    schedule = smc(conjugate, num_particles=20, num_steps=2).run(X).schedule
    with pytest.raises(ValueError, match="schedule has 2 transitions at a stage, but num_steps is 3"):
        smc(conjugate, schedule=schedule, num_steps=3)
    with pytest.raises(ValueError, match="compile must be True, False or 'auto', not 'no'"):
        SMC(conjugate, compile="no")
