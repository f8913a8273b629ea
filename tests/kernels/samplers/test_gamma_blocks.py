"""Many gamma draws follow the law that each of them follows alone."""

import pytest
import torch
from scipy import stats

from posterity.kernels import gammainc
from posterity.kernels.samplers.gamma_blocks import eager_gamma
from tests.kernels.samplers.checks import assert_follows

N = 200_000


CONCENTRATIONS = {
    "half below 1": torch.linspace(0.4, 1.6, N),
    "a tenth below 1": torch.linspace(0.5, 5.0, N),
    "none below 1": torch.logspace(0, 4, N),
}


@pytest.mark.parametrize("a", CONCENTRATIONS.values(), ids=CONCENTRATIONS.keys())
def test_levels_of_draws_of_different_concentrations_are_uniform(a):
    generator = torch.Generator().manual_seed(5)
    draws = eager_gamma(a, a.shape, generator)
    assert draws.dtype == torch.float32
    levels = gammainc(a.double(), draws.double())
    assert_follows(levels, stats.uniform)
    # The large and the small concentrations on their own.
    assert_follows(levels[: N // 10], stats.uniform)
    assert_follows(levels[-N // 10 :], stats.uniform)


def test_a_generator_decides_on_the_draws():
    a = torch.linspace(0.2, 9.0, N // 4).view(4, -1)

    def drawn(seed):
        return eager_gamma(a, torch.Size((2, *a.shape)), torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert drawn(1).shape == (2, *a.shape)
    assert drawn(1).is_contiguous()


def test_no_two_draws_are_the_same():
    draws = eager_gamma(torch.tensor(2.0), torch.Size((N,)), torch.Generator().manual_seed(0))
    # Of float32 numbers about 2^24 are likely, so that some of 200 000 agree by chance, but no block repeats another.
    blocks = draws[: 3 * 65536].view(3, -1)
    assert (blocks[0] == blocks[1]).double().mean() < 1e-3
    assert (blocks[1] == blocks[2]).double().mean() < 1e-3
