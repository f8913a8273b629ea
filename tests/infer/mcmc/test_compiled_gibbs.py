"""Gibbs sampling around NUTS and HMC by compiled graphs makes the transitions of its own `step`."""

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import CaptureError, can_compile
from posterity.infer.mcmc.compiled_gibbs import CompiledGibbs
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.mcmc import MCMC
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.stepping import Stepping
from posterity.kernels import Key
from tests.infer.mcmc.test_gibbs import X, conjugate, dependent, double, draw_loc
from tests.statistical import assert_mean

pytestmark = pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")


def joined(x):
    """Discrete variables that hang together, in turns, with a continuous one between."""
    loc = pt.sample("loc", dist.Normal(double(0.0)[0], 1.0))
    dependent(x + loc)


def count(x):
    rate = pt.sample("rate", dist.Gamma(double(3.0)[0], 1.0))
    n = pt.sample("n", dist.Poisson(rate))
    pt.sample("x", dist.Normal(n, 1.0), obs=x)


CASES = {
    "NUTS": (lambda: Gibbs(NUTS(conjugate)), X),
    "a function of the user's": (lambda: Gibbs(NUTS(conjugate), updates={"loc": draw_loc}), X),
    "turns, HMC, random order": (
        lambda: Gibbs(HMC(joined, num_steps=4, metric="dense"), scan="random", method="metropolised"),
        X[:2],
    ),
    "counts": (lambda: Gibbs(NUTS(count)), X[2]),
}


def silent(advance, known):
    pass


def blocks_of(engine, kernel, point, keys, num_warmup=14, num_samples=10):
    """Draws of the warm-up, with a window closed in it, and of the sampling."""
    adaptation = kernel.adaptation(engine.target, point, num_warmup, keys.fold_in(-2))
    state, warmup = engine.warm_up(adaptation, engine.init(adaptation.metric, point), 0, num_warmup, silent)
    adaptation.finish()
    state, block = engine.sample(adaptation, state, num_warmup, num_samples, silent)
    return warmup, block, state


@pytest.mark.parametrize("name", CASES)
def test_compiled_transitions_are_those_of_the_kernels_own_step(name):
    make, x = CASES[name]
    kernel = make()
    potential = kernel.potential((x,), {}, Key(0))
    keys, point = Key(1).fold_in(torch.arange(3)), potential.initial_points(3, source=Key(2))
    compiled = CompiledGibbs(kernel, potential, keys, point)
    assert compiled.reason == ""
    found = blocks_of(compiled, kernel, point, keys)
    expected = blocks_of(Stepping(kernel, potential, keys, point, compile=False), kernel, point, keys)
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert ours.draws.keys() == theirs.draws.keys()
        assert ours.info.keys() == theirs.info.keys()
        for group in ("draws", "info"):
            for part, other in getattr(theirs, group).items():
                torch.testing.assert_close(getattr(ours, group)[part], other, rtol=1e-8, atol=1e-8)
        assert (ours.info["num_changed"] > 0).any()
    assert type(found[2])._fields == type(expected[2])._fields
    torch.testing.assert_close(tuple(found[2]), tuple(expected[2]), rtol=1e-8, atol=1e-8)


def selected(x):
    z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
    loc = pt.sample("loc", dist.Normal(3 * z, 1.0))
    pt.sample("x", dist.Normal(loc, 1.0), obs=x)


def test_compiled_chains_reach_the_posterior():
    x, number = double(1.3)[0], 4000
    kernel = Gibbs(HMC(selected, num_steps=3, step_size=0.7, adapt_step_size=False, metric=None))
    potential = kernel.potential((x,), {}, Key(0))
    keys = Key(1).fold_in(torch.arange(number))
    point = torch.zeros(number, 1, dtype=torch.float64)
    engine = CompiledGibbs(kernel, potential, keys, point)
    adaptation = kernel.adaptation(engine.target, point[:1].expand(number, -1), 0, keys)
    _, block = engine.sample(adaptation, engine.init(adaptation.metric, point), 0, 40, silent)
    evidence = torch.stack([dist.Normal(double(loc)[0], 2**0.5).log_prob(x) for loc in (0.0, 3.0)])
    odds = (double(0.7, 0.3).log() + evidence).softmax(0)[1]
    assert_mean(block.draws["choices"][:, -1, 0].double(), float(odds))
    assert_mean(block.draws["position"][:, -1, 0], float((3 * odds + x) / 2))


def test_a_run_that_is_interrupted_keeps_whole_transitions():
    kernel = Gibbs(NUTS(conjugate))
    potential = kernel.potential((X,), {}, Key(0))
    keys, point = Key(1).fold_in(torch.arange(3)), potential.initial_points(3, source=Key(2))
    engine = CompiledGibbs(kernel, potential, keys, point)
    adaptation = kernel.adaptation(engine.target, point, 0, keys.fold_in(-2))
    state = engine.init(adaptation.metric, point)
    whole, calls = engine.sample(adaptation, state, 0, 8, silent)[1], []
    sweep = engine._sweep

    def interrupted(number, z, choices):
        calls.append(number)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return sweep(number, z, choices)

    interrupted.prepare = sweep.prepare
    engine._sweep = interrupted
    _, block = engine.sample(adaptation, state, 0, 8, silent)
    assert engine.interrupted
    assert block.num_transitions == 5
    assert torch.equal(block.draws["position"], whole.draws["position"][:, :5])
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        engine.warm_up(adaptation, state, 0, 8, silent)


@pytest.mark.filterwarnings("ignore:MCMC")  # so few draws are no sample
def test_the_driver_goes_on_from_a_directory_to_the_same_draws(tmp_path):
    def mcmc(number, **options):
        return MCMC(Gibbs(NUTS(conjugate)), 20, number, 3, seed=3, progress=False, compile=True, **options)

    whole = mcmc(20)
    whole.run(X)
    for number in (10, 20):
        resumed = mcmc(number, directory=tmp_path / "run")
        resumed.run(X)
    for name, value in whole.get_samples().items():
        assert torch.equal(value, resumed.get_samples()[name]), name
    assert whole.get_extra_fields()["num_steps"].shape == (60,)


@pytest.mark.filterwarnings("ignore:MCMC")  # one chain tells little
def test_a_model_that_branches_on_values_goes_on_uncompiled():
    def branching(x):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        loc = pt.sample("loc", dist.Normal(double(0.0)[0], 1.0))
        pt.sample("x", dist.Normal(loc + 3.0 if z > 0 else loc, 1.0), obs=x)

    kernel = Gibbs(HMC(branching, num_steps=1, step_size=0.5, adapt_step_size=False))
    mcmc = MCMC(kernel, 0, 300, 1, seed=0, progress=False, compile="auto")
    with pytest.warns(UserWarning, match="this program cannot be captured .* goes on uncompiled"):
        mcmc.run(X[0])
    assert mcmc.get_samples()["z"].shape == (300,)
    with pytest.raises(CaptureError, match="branches on the value of a tensor"):
        MCMC(kernel, 0, 3, 1, seed=0, progress=False, compile=True).run(X[0])
