"""On a normal posterior SGHMC is a linear recursion of position and momentum, whose covariance solves Lyapunov's."""

import math

import numpy as np
import pytest
import torch

from posterity.infer.stochastic_gradient import SGHMC, SGLD
from tests.infer.stochastic_gradient.gaussian import assert_order, bias, linear_map, noisy, run, stationary
from tests.statistical import assert_mean, assert_normal_variance

STEP, FRICTION, PRECISION = 0.04, 0.3, 2.0


def slope(z):
    return -PRECISION * (z - 1.0)


def by_hand(second_order):
    """The matrices of a step, from the formulas."""
    time, kept = math.sqrt(STEP), 1 - FRICTION
    if not second_order:
        spread = math.sqrt(2 * FRICTION)
        momentum = np.array([[-time * PRECISION, kept]])
        return np.vstack([[1, 0] + time * momentum[0], momentum]), spread * np.array([[time], [1.0]])
    drift = np.array([[1, time / 2], [0, 1]])
    kick = np.array([[1, 0], [-time / 2 * PRECISION, 1]])
    rub, spread = np.diag([1.0, kept]), math.sqrt(1 - kept**2)
    return drift @ kick @ rub @ kick @ drift, drift @ kick @ np.array([[0.0], [spread]])


@pytest.mark.parametrize("second_order", [True, False])
def test_a_step_is_the_known_linear_map(second_order):
    kernel = SGHMC(step_size=STEP, friction=FRICTION, second_order=second_order)
    state_map, by_noise, _ = linear_map(kernel, PRECISION, STEP)
    expected_map, expected_noise = by_hand(second_order)
    np.testing.assert_allclose(state_map, expected_map, atol=1e-14)
    np.testing.assert_allclose(by_noise, expected_noise, atol=1e-14)


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("gradient_variance", [0.0, 10.0])
def test_draws_have_the_covariance_that_solves_lyapunovs_equation(second_order, gradient_variance):
    kernel = SGHMC(step_size=STEP, friction=FRICTION, second_order=second_order)
    estimate = noisy(slope, gradient_variance) if gradient_variance else slope
    # The slowest part of the state shrinks by more than a tenth a step.
    state_map, _, by_gradient = linear_map(kernel, PRECISION, STEP)
    assert np.abs(np.linalg.eigvals(state_map)).max() < 0.9
    state = run(kernel, estimate, torch.zeros(4096, 1, dtype=torch.float64), 150, STEP)
    covariance = stationary(*by_hand(second_order), by_gradient, gradient_variance)
    assert_mean(state.position, 1.0)
    assert_mean(state.momentum, 0.0)
    assert_normal_variance(state.position, covariance[0, 0])
    assert_normal_variance(state.momentum, covariance[1, 1])


def test_the_symmetric_integrator_has_no_bias_on_a_normal_posterior_and_eulers_has_one_of_first_order():
    for friction in (0.1, 0.5, 1.0):
        assert bias(SGHMC(step_size=1.0, friction=friction), 0.1) < 1e-12
        assert_order(SGHMC(step_size=1.0, friction=friction, second_order=False), 1)


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_noise_that_is_known_of_is_made_up_for_exactly(second_order, as_tensor):
    known = torch.tensor([8.0], dtype=torch.float64) if as_tensor else 8.0
    plain = SGHMC(step_size=STEP, friction=FRICTION, second_order=second_order)
    informed = SGHMC(step_size=STEP, friction=FRICTION, second_order=second_order, gradient_variance=known)
    without_noise = stationary(*linear_map(plain, PRECISION, STEP)[:2])
    with_noise = stationary(*linear_map(informed, PRECISION, STEP), 8.0)
    np.testing.assert_allclose(with_noise, without_noise, rtol=1e-12)
    ignored = stationary(*linear_map(plain, PRECISION, STEP), 8.0)
    assert ignored[0, 0] > 1.2 * without_noise[0, 0]


def test_more_noise_than_is_injected_leaves_none_to_inject():
    kernel = SGHMC(step_size=1.0, friction=0.1, gradient_variance=1e6)
    _, by_noise, _ = linear_map(kernel, 1.0, 1.0)
    assert (by_noise == 0).all()


def test_with_full_friction_the_first_order_integrator_is_sgld():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    noise = torch.randn(5, 1, 3, dtype=torch.float64, generator=generator)
    ours, theirs = SGHMC(step_size=STEP, friction=1.0, second_order=False), SGLD(step_size=STEP)
    torch.testing.assert_close(
        ours.step(ours.init(start), slope, noise, STEP, 0.7)[0].position,
        theirs.step(theirs.init(start), slope, noise, STEP, 0.7)[0].position,
    )


def test_the_kinetic_temperature_is_the_mean_square_of_the_momentum():
    kernel = SGHMC(step_size=STEP)
    state, info = kernel.step(kernel.init(torch.ones(2, 3)), slope, torch.ones(2, 1, 3), STEP)
    torch.testing.assert_close(info.kinetic_temperature, state.momentum.square().mean(-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"friction": 0.0}, "SGHMC: friction must lie above 0 and not above 1, not 0.0"),
        ({"friction": 1.5}, "friction must lie above 0 and not above 1, not 1.5"),
        ({"gradient_variance": -1.0}, "SGHMC: gradient_variance must not be negative, but is -1.0"),
        ({"step_size": 0.0}, "SGHMC: step_size must be positive"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SGHMC(**{"step_size": 0.1, **options})
