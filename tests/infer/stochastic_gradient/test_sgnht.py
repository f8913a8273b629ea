"""The thermostat takes out of the chain what noise of unknown variance brings in."""

import pytest
import torch

from posterity.infer.stochastic_gradient import SGHMC, SGNHT
from tests.infer.stochastic_gradient.gaussian import linear_map, noisy, run, stationary
from tests.statistical import assert_mean, assert_normal_variance

STEP, FRICTION = 0.01, 0.1


def slope(z):
    return -(z - 1.0)


def start(dim=1):
    return 1 + torch.randn(4096, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(11))


def test_draws_have_the_posteriors_variance_though_gradients_are_noisy_where_plain_momentum_is_too_hot():
    unknown = 20.0
    plain = SGHMC(step_size=STEP, friction=FRICTION)
    too_hot = stationary(*linear_map(plain, 1.0, STEP), unknown)
    assert too_hot[0, 0] > 1.8
    kernel = SGNHT(step_size=STEP, friction=FRICTION)
    state = run(kernel, noisy(slope, unknown), start(), 1500, STEP)
    assert_mean(state.position, 1.0)
    assert_normal_variance(state.position, 1.0)
    assert_normal_variance(state.momentum, 1.0)
    # What the gradient's noise adds to the friction is h V / 2; the next order is a tenth of it.
    assert float(state.friction.mean()) == pytest.approx(FRICTION + STEP * unknown / 2, rel=0.1)


def test_each_coordinate_finds_its_own_friction():
    variances = torch.tensor([0.0, 40.0], dtype=torch.float64)
    state = run(SGNHT(step_size=STEP, friction=FRICTION), noisy(slope, variances), start(2), 1500, STEP)
    assert_mean(state.position, 1.0)
    assert_normal_variance(state.position, 1.0)
    torch.testing.assert_close(state.friction.mean(0), FRICTION + STEP * variances / 2, rtol=0.15, atol=0.0)


def test_one_thermostat_holds_the_mean_over_coordinates():
    state = run(
        SGNHT(step_size=STEP, friction=FRICTION, per_coordinate=False), noisy(slope, 20.0), start(2), 1500, STEP
    )
    assert state.friction.shape == (4096, 1)
    assert_mean(state.position, 1.0)
    assert_normal_variance(state.position, 1.0)


def test_the_friction_moves_by_its_rate_times_the_excess_heat():
    kernel = SGNHT(step_size=STEP, friction=0.5, thermostat_rate=0.01)
    state = kernel.init(torch.zeros(1, 2, dtype=torch.float64))._replace(
        momentum=torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    )
    after, info = kernel.step(state, lambda z: 0 * z, torch.zeros(1, 1, 2, dtype=torch.float64), STEP, 0.5)
    kinetic = (state.momentum.square() + after.momentum.square()) / 2
    torch.testing.assert_close(after.friction, 0.5 + 0.01 * (kinetic - 0.5))
    torch.testing.assert_close(info.friction, after.friction.mean(-1))
    torch.testing.assert_close(info.kinetic_temperature, after.momentum.square().mean(-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"friction": -0.1}, "SGNHT: friction must lie above 0 and not above 1, not -0.1"),
        ({"thermostat_rate": 0.0}, "SGNHT: thermostat_rate must lie above 0"),
        ({"step_size": 0.0}, "SGNHT: step_size must be positive"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SGNHT(**{"step_size": 0.1, **options})
