"""Simulation-based calibration: parameters from the prior are as likely to be anywhere among their posterior's draws.

Each chain has data of its own, so that thousands of posteriors are one batch.

Source: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), "Validating Bayesian inference algorithms with
simulation-based calibration".
"""

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.metric import Preconditioned
from posterity.infer.mcmc.native_trajectories import NativeTrajectories
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.stepping import Stepping
from posterity.infer.mcmc.target import LogDensity
from posterity.kernels import Key
from tests.statistical import FALSE_ALARM, assert_mean

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")]
REPLICATES, DRAWS, THIN, BINS = 2000, 99, 6, 20


def simulated(num):
    """Parameters (loc, log scale, two effects) from their prior, and data of them."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(num, 4, generator=generator, dtype=torch.float64)
    truth = torch.stack([noise[:, 0], 0.5 * noise[:, 1], noise[:, 2], noise[:, 3]], -1)
    centre = truth[:, :1] + truth[:, 1:2].exp() * truth[:, 2:]
    data = centre.unsqueeze(-1) + torch.randn(num, 2, 3, generator=generator, dtype=torch.float64)
    return truth, data


def density_of(data):
    """The log posterior of each replicate; the effects are not centred."""

    def log_density(z):
        centre = z[..., :1] + z[..., 1:2].exp() * z[..., 2:]
        prior = -0.5 * (z[..., 0].square() + (z[..., 1] / 0.5).square() + z[..., 2:].square().sum(-1))
        return prior - 0.5 * (data - centre.unsqueeze(-1)).square().sum((-1, -2))

    return log_density


@pytest.mark.parametrize("name", ["nuts", "nuts dense", "nuts low rank", "hmc"])
def test_ranks_of_the_truth_are_uniform(name):
    truth, data = simulated(REPLICATES)
    log_density = density_of(data)
    kernel = {
        "nuts": NUTS(log_density=log_density),
        "nuts dense": NUTS(log_density=log_density, metric="dense"),
        "nuts low rank": NUTS(log_density=log_density, metric="low_rank"),
        "hmc": HMC(log_density=log_density),
    }[name]
    target = LogDensity(log_density, 4, batched=True)
    keys = Key(1).fold_in(torch.arange(REPLICATES))
    point = torch.zeros(REPLICATES, 4, dtype=torch.float64)
    engine = NativeTrajectories(kernel, target, keys, point)
    adaptation = kernel.adaptation(engine.target, point, 300, keys.fold_in(-2))
    state, _ = engine.warm_up(adaptation, engine.init(adaptation.metric, point), 0, 300, lambda *_: None)
    adaptation.finish()
    _, block = engine.sample(adaptation, state, 300, DRAWS * THIN, lambda *_: None)
    draws = block.draws["position"][:, THIN - 1 :: THIN]
    ranks = (draws < truth.unsqueeze(1)).sum(1)
    for parameter in range(4):
        counts = torch.bincount(ranks[:, parameter] * BINS // (DRAWS + 1), minlength=BINS)
        p = stats.chisquare(counts.numpy()).pvalue
        assert p > FALSE_ALARM / 4, f"parameter {parameter}: p = {p}, {counts.tolist()}"


def mixture():
    """Counts of four subjects, each in one of two groups; here the counts are held, each chain's own."""
    logits = pt.sample("logits", dist.Normal(torch.tensor([-1.0, 1.0], dtype=torch.float64), 1.0).to_event(1))
    with pt.plate("subjects", 4):
        group = pt.sample("group", dist.Categorical(torch.tensor([0.4, 0.6], dtype=torch.float64)))
        pt.sample("count", dist.Binomial(6, logits=logits[group]))


@pytest.mark.parametrize("method", ["exact", "metropolised"])
def test_ranks_of_the_truth_are_uniform_with_discrete_variables(method):
    number, draws, thin = 1500, 49, 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        logits = torch.randn(number, 2, dtype=torch.float64) + torch.tensor([-1.0, 1.0])
        group = torch.multinomial(torch.tensor([0.4, 0.6]), number * 4, replacement=True).reshape(number, 4)
        count = dist.Binomial(6, logits=logits.gather(1, group)).sample()
    kernel = Gibbs(HMC(mixture), method=method, updates={"count": lambda keys, values: values["count"]})
    target, keys = kernel.potential((), {}, Key(0)), Key(2).fold_in(torch.arange(number))
    point = torch.zeros(number, 2, dtype=torch.float64)
    engine = Stepping(kernel, target, keys, point, compile=False)
    adaptation = kernel.adaptation(target, point, 60, keys.fold_in(-2))
    whitened = Preconditioned(target, adaptation.metric)
    state = kernel.init(whitened, point, {"group": torch.zeros(number, 4, dtype=torch.int64), "count": count})
    state, _ = engine.warm_up(adaptation, state, 0, 60, lambda *_: None)
    adaptation.finish()
    _, block = engine.sample(adaptation, state, 60, draws * thin, lambda *_: None)
    ranks = (block.draws["position"][:, thin - 1 :: thin] < logits.unsqueeze(1)).sum(1)
    for parameter in range(2):
        counts = torch.bincount(ranks[:, parameter] * 10 // (draws + 1), minlength=10)
        p = stats.chisquare(counts.numpy()).pvalue
        assert p > FALSE_ALARM / 2, f"logit {parameter}: p = {p}, {counts.tolist()}"
    values = kernel.values(target, block.draws["position"], {"choices": block.draws["choices"]})
    assert (values["count"] == count.unsqueeze(1)).all()
    # Of the truth and the draws, the same share is in each group in the mean, by a z-test over independent replicates.
    difference = values["group"].double().mean(1) - group
    assert_mean(difference.mean(-1), 0.0)
