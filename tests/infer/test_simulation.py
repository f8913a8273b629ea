"""Particles are independent, vectorised or one after the other."""

import pytest
import torch

from posterity.infer.simulation import over_particles


@pytest.mark.parametrize("vectorized", [True, False])
def test_each_particle_has_a_dropout_of_its_own(vectorized):
    dropout = torch.nn.Dropout(0.5)
    masks = over_particles(lambda tape: dropout(torch.ones(64)), {}, 3, vectorized)
    assert masks.shape == (3, 64)
    assert len(masks.unique(dim=0)) == 3  # two masks are alike by chance once in 2**64 times
