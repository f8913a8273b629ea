import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import HMC, MALA, MCLMC, ChEES, Gibbs, RandomWalkMetropolis
from posterity.infer.capture import CaptureError, can_compile
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.stepping import Stepping
from posterity.infer.mcmc.taped_keys import CannotTapeError, Request, TapedKeys, requests_of
from posterity.infer.mcmc.target import LogDensity
from posterity.kernels import Key, normal, rademacher, uniform
from tests.infer.mcmc.chain_checks import Banana

needs_compiler = pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")
BANANA = LogDensity(Banana.log_density, 2, batched=True)
KERNELS = {
    "a step that is one graph": lambda: MALA(log_density=Banana.log_density),
    "a step of three graphs": lambda: ChEES(log_density=Banana.log_density),
    "without acceptance": lambda: MCLMC(log_density=Banana.log_density),
}


def keys_of(num_chains):
    return Key(3).fold_in(torch.arange(num_chains))


def silent(advance, known):
    pass


def test_noise_made_ahead_is_that_of_the_keys():
    keys = Key(0).fold_in(torch.arange(3))
    at_once = Key(keys.data.unsqueeze(0)).fold_in(torch.arange(5).unsqueeze(-1))
    for path in ((), (("at", 2),), (("fold_in", 7), ("at", 1))):
        for kind, draw in (("normal", normal), ("uniform", uniform)):
            request = Request(path, kind, (4,), torch.float64)
            rows = request.answer(at_once)
            for t in range(5):
                own = keys.fold_in(t)
                for step, number in path:
                    own = own.at(number) if step == "at" else own.fold_in(number)
                assert torch.equal(rows[t], draw((4,), source=own, dtype=torch.float64))


def test_a_step_tells_what_it_asks_for():
    def step(keys):
        return normal((2,), source=keys.at(1), dtype=torch.float64), uniform((), source=keys.fold_in(3))

    assert requests_of(step, keys_of(4)) == [
        Request((("at", 1),), "normal", (2,), torch.float64),
        Request((("fold_in", 3),), "uniform", (), torch.float32),
    ]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda keys: keys.data, "words are read"),
        (lambda keys: keys.fold_in(torch.tensor(1)), "derived by a tensor"),
        (lambda keys: rademacher((2,), source=keys), "of another kind"),
    ],
)
def test_what_only_keys_can_do_is_said(step, message):
    with pytest.raises(CannotTapeError, match=message):
        step(TapedKeys(lambda request: request.answer(keys_of(2))))


@needs_compiler
@pytest.mark.parametrize("name", KERNELS)
def test_graphs_make_the_transitions_of_eager_code(name):
    kernel, point, keys = KERNELS[name](), Banana.draw(6), keys_of(6)
    found = []
    for compile in (True, False):  # noqa: A001  # the name that drivers share
        engine = Stepping(kernel, BANANA, keys, point, compile=compile)
        adaptation = kernel.adaptation(BANANA, point, 12, keys.fold_in(-2))
        state = engine.init(adaptation.metric, point)
        state, warmup = engine.warm_up(adaptation, state, 0, 12, silent)
        adaptation.finish()
        found.append((warmup, engine.sample(adaptation, state, 12, 10, silent)[1]))
    for ours, theirs in zip(*found, strict=True):
        for group in (0, 1):
            for part, other in theirs[group].items():
                torch.testing.assert_close(ours[group][part], other, rtol=1e-7, atol=1e-7)


@needs_compiler
def test_a_target_that_branches_is_sampled_uncompiled_unless_a_graph_is_asked_for():
    def log_density(z):
        return -z.abs().sum() if z[0] > 0 else -z.square().sum()

    class Branching(LogDensity):
        def log_density(self, z):
            return torch.stack([log_density(point) for point in z])

    point = torch.zeros(2, 1, dtype=torch.float64)
    target = Branching(log_density, 1)
    for compile in (True, "auto"):  # noqa: A001
        kernel = RandomWalkMetropolis(log_density=log_density)
        engine = Stepping(kernel, target, keys_of(2), point, compile=compile)
        adaptation = kernel.adaptation(target, point, 0, keys_of(2))
        state = engine.init(adaptation.metric, point)
        if compile is True:
            with pytest.raises(CaptureError, match="compile=False"):
                engine.sample(adaptation, state, 0, 5, silent)
        else:
            with pytest.warns(UserWarning, match="goes on uncompiled"):
                _, block = engine.sample(adaptation, state, 0, 5, silent)
            assert block.num_transitions == 5


def test_discrete_values_survive_a_change_of_metric():
    def model(x):
        loc = pt.sample("loc", dist.Normal(torch.zeros(2, dtype=torch.float64), 3.0).to_event(1))
        with pt.plate("data", len(x)):
            k = pt.sample("k", dist.Categorical(torch.tensor([0.5, 0.5])))
            pt.sample("x", dist.Normal(loc[k], 1.0), obs=x)

    x = torch.tensor([-3.0, 3.0, 3.1], dtype=torch.float64)
    kernel = Gibbs(HMC(model))
    target = kernel.potential((x,), {}, Key(0))
    point = torch.tensor([[-3.0, 3.0]], dtype=torch.float64)
    engine = Stepping(kernel, target, keys_of(1), point, compile=False)
    adaptation = kernel.adaptation(target, point, 12, keys_of(1))
    state = kernel.init(engine._whitened(adaptation.metric), point, {"k": torch.tensor([[0, 1, 1]])})
    state, block = engine.warm_up(adaptation, state, 0, 12, silent)
    assert block.num_transitions == 12
    # The posterior odds of another assignment are exp(-18).
    assert (block.draws["choices"] == torch.tensor([0, 1, 1])).all()


def test_every_kernel_says_whether_it_can_be_captured():
    assert issubclass(MALA, Kernel)
    assert MALA.is_capturable
    assert not HMC.is_capturable
