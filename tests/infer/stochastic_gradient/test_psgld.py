"""A preconditioner that moves with the chain changes what is drawn from, unless its divergence is added."""

import math

import pytest
import torch

from posterity.infer.stochastic_gradient import PSGLD
from tests.infer.stochastic_gradient.gaussian import noisy, run
from tests.statistical import assert_mean, assert_variance

STABILITY = 0.5
# For steps that go to 0 the preconditioner at a standard normal posterior is 1 / (STABILITY + |theta|).
ABSOLUTE, CUBED = math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi)
DIVIDED_VARIANCE = (STABILITY + CUBED) / (STABILITY + ABSOLUTE)


def slope(z):
    return -z


@pytest.mark.parametrize(("correction", "variance"), [(True, 1.0), (False, DIVIDED_VARIANCE)])
def test_draws_are_from_the_posterior_with_the_correction_and_from_it_over_the_preconditioner_without(
    correction, variance
):
    # A step moves by about 0.1, and the average is over two of them: the limit of small steps, to what 4096 chains
    # can tell (a tenth of the variance).
    kernel = PSGLD(step_size=4e-3, decay=0.5, stability=STABILITY, correction=correction)
    start = torch.randn(4096, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    state = run(kernel, slope, start, 2500, 4e-3)
    assert_mean(state.position, 0.0)
    assert_variance(state.position, variance)


def test_noise_that_dominates_makes_the_preconditioner_constant_and_the_draws_right():
    # V is about the noise's variance, and G about 1 / 20: 1000 steps of the drift 0.01 are ten times its memory.
    kernel = PSGLD(step_size=0.2, decay=0.99)
    start = torch.randn(4096, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    state = run(kernel, noisy(slope, 400.0), start, 1000, 0.2)
    rate = 0.2 / 20
    # As SGLD with that step size, whose gradients have that variance.
    assert_mean(state.position, 0.0)
    expected = (2 * rate + rate**2 * 400.0) / (1 - (1 - rate) ** 2)
    assert expected > 2.9
    assert_variance(state.position, expected)


def test_scales_of_coordinates_are_evened_out():
    scales = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    kernel = PSGLD(step_size=0.01, decay=0.9, stability=1e-12)
    state = kernel.init(scales.expand(1, 3).clone())
    for _ in range(50):
        state, info = kernel.step(state, lambda z: -z / scales**2, torch.zeros(1, 1, 3), 1e-6)
    # Far from the mode all move by the step size over the root of (nearly) all weights of the average.
    moves = (scales - state.position[0]) / 1e-6
    assert info.gradient_norm.shape == (1,)
    torch.testing.assert_close(moves, moves[1].expand(3), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "PSGLD: decay must lie above 0 and below 1, not 1.0"),
        ({"decay": 0.0}, "decay must lie above 0"),
        ({"stability": 0.0}, "PSGLD: stability must be positive, not 0.0"),
        ({"step_size": -0.1}, "PSGLD: step_size must be positive"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PSGLD(**{"step_size": 0.1, **options})
