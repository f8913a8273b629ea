import pytest
import torch

from posterity.infer.capture import can_compile
from posterity.infer.mcmc.compiled_target import CompiledTarget
from posterity.infer.mcmc.target import LogDensity

pytestmark = pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")


def regression(x):
    return LogDensity(lambda z: -0.5 * (x @ z - 1.0).square().sum(), 3)


def test_targets_that_differ_only_in_their_data_are_told_apart():
    # Inductor finds the second graph, of the same shapes, in its cache on disk.
    z = torch.randn(4, 3, dtype=torch.float64)
    for seed in range(2):
        x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        target = regression(x)
        for ours, theirs in zip(CompiledTarget(target, z).value_and_grad(z), target.value_and_grad(z), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_points_of_another_shape_are_evaluated_as_before():
    target = regression(torch.eye(3, dtype=torch.float64))
    compiled = CompiledTarget(target, torch.zeros(4, 3, dtype=torch.float64))
    z = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(compiled.value_and_grad(z)[0], target.value_and_grad(z)[0])
    assert torch.equal(compiled.log_density(z), target.log_density(z))
    assert compiled.dim == 3


def test_results_are_not_overwritten_by_the_next_evaluation():
    compiled = CompiledTarget(regression(torch.eye(3)), torch.zeros(1, 3))
    first, _ = compiled.value_and_grad(torch.zeros(1, 3))
    before = first.clone()
    compiled.value_and_grad(torch.ones(1, 3))
    assert torch.equal(first, before)
