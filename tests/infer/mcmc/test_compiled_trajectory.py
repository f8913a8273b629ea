"""Steps made of three graphs are the eager ones."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from posterity.infer.capture import can_compile
from posterity.infer.mcmc import compiled_trajectory
from posterity.infer.mcmc.chees import ChEES
from posterity.infer.mcmc.chees_adaptation import ChEESTuning
from posterity.infer.mcmc.mclmc import MCLMC
from posterity.infer.mcmc.mclmc_adaptation import MCLMCTuning
from posterity.infer.mcmc.metric import DiagonalMetric, Preconditioned
from posterity.infer.mcmc.target import LogDensity
from tests.infer.mcmc.chain_checks import Banana, keys_of

BANANA = LogDensity(Banana.log_density, 2, batched=True)
SCALES = DiagonalMetric(torch.tensor([[0.7, 1.5]], dtype=torch.float64).repeat(6, 1))
KERNELS = [
    (ChEES(log_density=Banana.log_density), ChEESTuning),
    (MCLMC(log_density=Banana.log_density, adjusted=True), MCLMCTuning),
]


class Interpreted:
    """A graph that was captured as `Replay` does, and is run without a compiler."""

    def __init__(self, function, example, *, is_settled):
        self.inputs = list(example)

        def flat(*arguments):
            leaves, self.structure = pytree.tree_flatten(function(*arguments))
            return leaves

        self.graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)

    def __call__(self):
        self.outputs = [output.clone() for output in self.graph(*self.inputs)]

    @property
    def result(self):
        return pytree.tree_unflatten(self.outputs, self.structure)

    def loop(self, number, feedback):
        for _ in range(number):
            self()
            for source, place in feedback:
                self.inputs[place].copy_(self.outputs[source])


def assert_same_chains(kernel, tuning_of, metric):
    position = Banana.draw(6)
    sizes = torch.linspace(0.3, 0.6, 6, dtype=torch.float64)
    tuning = tuning_of(sizes, 6 * sizes)
    whitened = BANANA if metric is None else Preconditioned(BANANA, metric)
    ours = theirs = kernel.init(whitened, position)
    step = kernel.compiled(BANANA, metric, ours, tuning, keys_of(6, 0))
    for transition in range(10):
        ours, our_info = kernel.step(whitened, ours, tuning, keys_of(6, transition))
        theirs, their_info = step(metric, theirs, tuning, keys_of(6, transition))
        for eager, compiled in zip((*ours, *our_info), (*theirs, *their_info), strict=True):
            torch.testing.assert_close(compiled, eager, rtol=1e-8, atol=1e-8)
    assert not torch.equal(ours.position, position)


@pytest.mark.parametrize(("kernel", "tuning_of", "metric"), [(*KERNELS[0], SCALES), (*KERNELS[1], None)])
def test_ten_transitions_of_the_graphs_are_those_of_eager_code(monkeypatch, kernel, tuning_of, metric):
    monkeypatch.setattr(compiled_trajectory, "Replay", Interpreted)
    assert_same_chains(kernel, tuning_of, metric)


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
@pytest.mark.parametrize(("kernel", "tuning_of"), KERNELS)
def test_ten_compiled_transitions_are_those_of_eager_code(kernel, tuning_of):
    assert_same_chains(kernel, tuning_of, SCALES)
