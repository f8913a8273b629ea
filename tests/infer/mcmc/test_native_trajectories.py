import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile
from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.native_trajectories import NativeTrajectories
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.stepping import Stepping
from posterity.infer.mcmc.target import LogDensity
from posterity.infer.potential import Potential
from posterity.kernels import Key
from tests.infer.mcmc.chain_checks import Banana, assert_reversible

pytestmark = pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")

BANANA = LogDensity(Banana.log_density, 2, batched=True)
KERNELS = {
    "nuts": lambda: NUTS(log_density=Banana.log_density),
    "nuts dense": lambda: NUTS(log_density=Banana.log_density, metric="dense"),
    "nuts low rank": lambda: NUTS(log_density=Banana.log_density, metric="low_rank"),
    "hmc": lambda: HMC(log_density=Banana.log_density),
    "hmc steps": lambda: HMC(log_density=Banana.log_density, num_steps=4, step_size=0.5, adapt_step_size=False),
}


def silent(advance, known):
    pass


def keys_of(num_chains):
    return Key(11).fold_in(torch.arange(num_chains))


def warmed_up(engine, kernel, point, num_warmup, num_samples):
    adaptation = kernel.adaptation(BANANA, point, num_warmup, engine._keys.fold_in(-2))
    state = engine.init(adaptation.metric, point)
    state, warmup = engine.warm_up(adaptation, state, 0, num_warmup, silent)
    adaptation.finish()
    _, block = engine.sample(adaptation, state, num_warmup, num_samples, silent)
    return warmup, block, adaptation


@pytest.mark.parametrize("name", KERNELS)
def test_native_code_makes_the_transitions_of_tensor_operations(name):
    kernel, point, keys = KERNELS[name](), Banana.draw(5), keys_of(5)
    native = NativeTrajectories(kernel, BANANA, keys, point)
    assert native.reason == ""
    eager = Stepping(kernel, BANANA, keys, point, compile=False)
    # The warm-up ends in the middle of a block, with a window closed: step sizes and metric are tuned alike too.
    found, expected = (warmed_up(engine, kernel, point, 14, 10) for engine in (native, eager))
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        for group in ("draws", "info"):
            for part, other in getattr(theirs, group).items():
                torch.testing.assert_close(getattr(ours, group)[part], other, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found[2].tuning.step_size, expected[2].tuning.step_size, rtol=1e-8, atol=0)


def test_a_chain_is_the_same_among_64():
    kernel, point = NUTS(log_density=Banana.log_density), Banana.draw(64)
    many = warmed_up(NativeTrajectories(kernel, BANANA, keys_of(64), point), kernel, point, 10, 10)[1]
    one = warmed_up(NativeTrajectories(kernel, BANANA, keys_of(1), point[:1]), kernel, point[:1], 10, 10)[1]
    torch.testing.assert_close(many.draws["position"][:1], one.draws["position"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["nuts", "hmc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_draws_stay_exact(name, dtype):
    kernel, start = KERNELS[name](), Banana.draw(50000).to(dtype)
    native = NativeTrajectories(kernel, BANANA, keys_of(50000), start)
    adaptation = kernel.adaptation(BANANA, start[:1].expand(50000, -1), 0, keys_of(50000))
    adaptation.tuning = type(adaptation.tuning)(torch.full((50000,), 1.3, dtype=torch.float64))
    _, block = native.sample(adaptation, native.init(adaptation.metric, start), 0, 2, silent)
    end = block.draws["position"][:, -1]
    assert end.dtype == dtype
    Banana.assert_drawn(end.double())
    assert_reversible(start[:, 0].double(), end[:, 0].double())


def test_a_target_that_cannot_be_replayed_is_called():
    def log_density(z):
        values = torch.linalg.eigvalsh(torch.eye(2, dtype=z.dtype) * (1 + z[..., :1, None].square()))
        return -0.5 * values.log().sum(-1) - 0.5 * z.square().sum(-1)

    target, point = LogDensity(log_density, 2, batched=True), Banana.draw(3)
    kernel = NUTS(log_density=log_density)
    native = NativeTrajectories(kernel, target, keys_of(3), point)
    assert "linalg" in native.reason
    eager = Stepping(kernel, target, keys_of(3), point, compile=False)
    adaptation = kernel.adaptation(target, point, 0, keys_of(3))
    blocks = [e.sample(adaptation, e.init(adaptation.metric, point), 0, 5, silent)[1] for e in (native, eager)]
    torch.testing.assert_close(*(block.draws["position"] for block in blocks), rtol=1e-8, atol=1e-8)


def test_long_trees_are_those_of_tensor_operations():
    def model():
        with pt.plate("d", 3):
            pt.sample("x", dist.Normal(torch.zeros(3, dtype=torch.float64), torch.tensor([1.0, 0.01, 10.0]).double()))

    potential = Potential(model)
    kernel, point = NUTS(model, metric=None, step_size=0.008, adapt_step_size=False), torch.zeros(2, 3).double()
    native = NativeTrajectories(kernel, potential, keys_of(2), point)
    eager = Stepping(kernel, potential, keys_of(2), point, compile=False)
    adaptation = kernel.adaptation(potential, point, 0, keys_of(2))
    ours, theirs = (e.sample(adaptation, e.init(adaptation.metric, point), 0, 1, silent)[1] for e in (native, eager))
    assert theirs.info["tree_depth"].min() >= 7
    assert torch.equal(ours.info["num_steps"], theirs.info["num_steps"])
    torch.testing.assert_close(ours.draws["position"], theirs.draws["position"], rtol=1e-7, atol=1e-7)
