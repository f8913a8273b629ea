"""On a normal posterior SGLD is an autoregression of order 1, of known variance."""

import pytest
import torch

from posterity.infer.stochastic_gradient import SGLD
from tests.infer.stochastic_gradient.gaussian import assert_order, bias, noisy, run
from tests.statistical import assert_mean, assert_normal_variance

LOC, SCALE = 3.0, 0.5
STEP = 0.1  # the state shrinks by 1 - STEP / SCALE**2 = 0.6 a step: nothing is left of the start after 60


def slope(z):
    return -(z - LOC) / SCALE**2


def known_variance(temperature=1.0, gradient_variance=0.0):
    shrinks = 1 - STEP / SCALE**2
    return (2 * STEP * temperature + STEP**2 * gradient_variance) / (1 - shrinks**2)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_draws_have_the_known_variance(temperature):
    generator = torch.Generator().manual_seed(3)
    kernel, state = SGLD(step_size=STEP), SGLD(step_size=STEP).init(torch.zeros(4096, 1, dtype=torch.float64))
    for _ in range(60):
        noise = torch.randn(4096, 1, 1, dtype=torch.float64, generator=generator)
        state, info = kernel.step(state, slope, noise, STEP, temperature)
    assert_mean(state.position, LOC)
    assert_normal_variance(state.position, known_variance(temperature))
    assert info.gradient_norm.shape == (4096,)
    assert (float(info.step_size), float(info.temperature)) == (STEP, temperature)


def test_noise_of_the_gradient_adds_a_known_variance():
    state = run(SGLD(step_size=STEP), noisy(slope, 30.0), torch.zeros(4096, 1, dtype=torch.float64), 60, STEP)
    expected = known_variance(gradient_variance=30.0)
    assert expected > 2 * known_variance()
    assert_mean(state.position, LOC)
    assert_normal_variance(state.position, expected)


def test_the_formula_of_the_docstring_is_that_variance():
    h, v, s2 = STEP, 30.0, SCALE**2
    assert known_variance(1.0, v) == pytest.approx((s2 + h * s2 * v / 2) / (1 - h / (2 * s2)))


def test_the_bias_is_of_the_order_of_the_step_size():
    kernel = SGLD(step_size=1.0)
    assert bias(kernel, 0.1) == pytest.approx(1 / (1 - 0.05) - 1)
    assert_order(kernel, 1)


def test_without_noise_it_climbs_to_the_mode():
    kernel, state = SGLD(step_size=STEP), SGLD(step_size=STEP).init(torch.zeros(1, 1, dtype=torch.float64))
    for _ in range(80):
        state, _ = kernel.step(state, slope, torch.full((1, 1, 1), 9.0, dtype=torch.float64), STEP, 0.0)
    torch.testing.assert_close(state.position, torch.full((1, 1), LOC, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"step_size": 0.0}, ValueError, "SGLD: step_size must be positive, not 0.0"),
        ({"step_size": -1.0}, ValueError, "step_size must be positive"),
        ({"step_size": float("nan")}, ValueError, "step_size must be positive"),
        ({"step_size": "big"}, TypeError, "step_size must be a number or a function of the step's number, not a str"),
        ({"step_size": 0.1, "temperature": -1.0}, ValueError, "temperature must be at least 0"),
        ({"step_size": 0.1, "model": 3}, TypeError, "SGLD: model must be callable, not a int"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        SGLD(**options)


def test_a_schedule_that_leaves_its_range_names_the_step():
    kernel = SGLD(step_size=lambda t: 1.0 - t, temperature=lambda t: -float(t))
    with pytest.raises(ValueError, match="step_size must be positive, but is -1.0 at step 2"):
        kernel.step_size(2)
    with pytest.raises(ValueError, match="temperature must not be negative, but is -2.0 at step 2"):
        kernel.temperature(2)
