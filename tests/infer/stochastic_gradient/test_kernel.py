"""What all kernels share."""

import pytest
import torch

from posterity.infer.stochastic_gradient import PSGLD, SGHMC, SGLD, SGNHT, CyclicalSGLD

KERNELS = [
    SGLD(step_size=0.01),
    PSGLD(step_size=0.01),
    PSGLD(step_size=0.01, correction=True),
    SGHMC(step_size=0.01),
    SGHMC(step_size=0.01, second_order=False, gradient_variance=1.0),
    SGNHT(step_size=0.01),
    SGNHT(step_size=0.01, per_coordinate=False),
    CyclicalSGLD(step_size=0.01, cycle_length=4),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_step_keeps_dtype_and_device_and_reports_numbers_for_chains(kernel, dtype, device):
    position = torch.ones(3, 2, dtype=dtype, device=device)
    noise = torch.ones(3, kernel.num_noises, 2, dtype=dtype, device=device)
    before = kernel.init(position)
    after, info = kernel.step(before, torch.neg, noise, kernel.step_size(0), kernel.temperature(3))
    for old, new in zip(before, after, strict=True):
        assert (new.shape, new.dtype, new.device) == (old.shape, old.dtype, old.device)
    for value in info:
        assert value.shape in ((), (3,))
        assert (value.dtype, value.device.type) == (dtype, device)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_a_step_is_a_function_of_what_it_is_given(kernel):
    generator = torch.Generator().manual_seed(0)
    position = torch.randn(3, 2, generator=generator)
    noise = torch.randn(3, kernel.num_noises, 2, generator=generator)
    state = kernel.init(position.clone())
    first, second = (kernel.step(state, torch.neg, noise, torch.tensor(0.01), torch.tensor(1.0))[0] for _ in range(2))
    assert torch.equal(first.position, second.position)
    assert torch.equal(state.position, position)
    # A chain's step does not depend on the others.
    alone, _ = kernel.step(kernel.init(position[1:2]), torch.neg, noise[1:2], 0.01, 1.0)
    torch.testing.assert_close(first.position[1:2], alone.position)
