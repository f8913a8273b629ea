"""Step sizes come to rest where the energy strays as much as is asked for."""

import torch

from posterity.infer.mcmc.energy_variance import EnergyVariance


def test_the_step_size_is_found_from_too_small_and_from_too_large():
    # Energy changes of a second-order integrator: standard deviation c step^3 by root of dimension.
    generator, dim, wanted, c = torch.Generator().manual_seed(0), 10, 5e-4, 0.7
    tuner = EnergyVariance.start(torch.tensor([1e-3, 0.1, 10.0]))
    sizes = []
    for _ in range(2000):
        noise = torch.randn(3, generator=generator, dtype=torch.float64)
        change = c * tuner.step_size**3 * dim**0.5 * noise
        tuner = tuner.update(change, torch.zeros(3, dtype=torch.bool), dim, wanted)
        sizes.append(tuner.final())
    variance = c**2 * torch.stack(sizes[1000:]).pow(6).mean(0)
    # The weights favour estimates near 1: what is found is within a factor of two.
    assert ((variance > wanted / 2) & (variance < wanted * 2)).all()


def test_a_step_that_diverged_is_not_tried_again():
    tuner = EnergyVariance.start(torch.ones(2))
    tuner = tuner.update(torch.tensor([torch.nan, 0.0]), torch.tensor([True, False]), 5, 5e-4)
    assert tuner.step_size[0] == 0.8
    assert tuner.step_size[1] > 1
    for _ in range(10):
        tuner = tuner.update(torch.zeros(2), torch.zeros(2, dtype=torch.bool), 5, 5e-4)
        assert tuner.step_size[0] == 0.8
