"""Implicit gradients: the slope of a quantile, so that gradients of expectations come out right."""

import numpy as np
import pytest
import torch
from scipy import stats

from posterity.kernels import Key, samplers
from posterity.kernels.samplers import gamma_sampler, inverse_gaussian_sampler, von_mises_sampler
from tests.statistical import assert_mean


def quantile_slope(law, x, parameter):
    """Of the quantile at the level of x, by central differences of the cdf, whose error is of order h^2."""
    h = 1e-4 * parameter
    by_parameter = (law(parameter + h).cdf(x) - law(parameter - h).cdf(x)) / (2 * h)
    return -by_parameter / law(parameter).pdf(x)


def slopes(sampler, parameter, number=30):
    parameter = torch.tensor(parameter, dtype=torch.float64)
    return torch.func.jvp(lambda p: sampler(p, (number,), source=Key(3)), (parameter,), (torch.ones_like(parameter),))


@pytest.mark.parametrize("a", [0.2, 0.9, 1.0, 3.0, 60.0])
def test_a_gamma_draw_moves_as_its_quantile(a):
    x, slope = slopes(samplers.standard_gamma, a)
    expected = quantile_slope(stats.gamma, x.numpy(), a)
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("a", [0.2, 0.9, 3.0])
def test_the_logarithm_of_a_gamma_draw_moves_as_its_quantile(a):
    y, slope = slopes(samplers.log_standard_gamma, a)
    x = np.exp(y.numpy())
    np.testing.assert_allclose(slope.numpy(), quantile_slope(stats.gamma, x, a) / x, rtol=1e-5)


def test_the_slope_of_a_log_gamma_draw_is_continuous_where_the_draw_underflows():
    # log x = (log p + log Gamma(a + 1)) / a up to terms of the order of x.
    a = torch.tensor(1e-2, dtype=torch.float64, requires_grad=True)
    y = samplers.log_standard_gamma(a, (4000,), source=Key(2))
    near = (y > -64) & (y < -56)
    assert (y[near] < -60).any()
    assert (y[near] > -60).any()
    (slope,) = torch.autograd.grad(y[near].sum(), a)
    exact = ((torch.digamma(a + 1) - y) / a)[near].sum()
    torch.testing.assert_close(slope, exact.detach(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("k", [0.1, 1.0, 8.0, 300.0])
def test_a_von_mises_draw_moves_as_its_quantile(k):
    x, slope = slopes(samplers.von_mises, k)
    np.testing.assert_allclose(slope.numpy(), quantile_slope(stats.vonmises, x.numpy(), k), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 30.0])
def test_an_inverse_gaussian_draw_moves_as_its_quantile(ratio):
    def law(concentration):
        return stats.invgauss(1 / concentration, scale=concentration)

    def sampler(concentration, shape, source):
        return samplers.inverse_gaussian(1.0, concentration, shape, source=source)

    x, slope = slopes(sampler, ratio)
    np.testing.assert_allclose(slope.numpy(), quantile_slope(law, x.numpy(), ratio), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (4.0, 5.0), (-np.inf, -3.0), (10.0, np.inf)])
def test_a_truncated_normal_draw_moves_as_its_quantile(low, high):
    bounds = [torch.tensor(v, dtype=torch.float64) for v in (low, high)]

    def draw(a, b):
        return samplers.truncated_normal(a, b, (30,), source=Key(3))

    x = draw(*bounds)
    below = stats.truncnorm(low, high).cdf(x.numpy())
    for argument, share in ((0, 1 - below), (1, below)):
        tangents = [torch.tensor(float(i == argument), dtype=torch.float64) for i in range(2)]
        _, slope = torch.func.jvp(draw, tuple(bounds), tuple(tangents))
        bound = float(bounds[argument])
        expected = share * np.exp(0.5 * (x.numpy() ** 2 - bound**2)) if np.isfinite(bound) else 0 * share
        np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.8), (2.0, 5.0)])
def test_beta_draws_give_the_gradient_of_their_mean(a, b):
    a, b = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    draw = torch.func.vmap(
        torch.func.grad(lambda a, b, data: samplers.beta(a, b, source=Key(data)), argnums=(0, 1)),
        in_dims=(None, None, 0),
    )
    slope_a, slope_b = draw(a, b, Key(1).fold_in(torch.arange(20_000)).data)
    assert_mean(slope_a, b / (a + b) ** 2)
    assert_mean(slope_b, -a / (a + b) ** 2)


def test_dirichlet_draws_give_the_gradient_of_an_expectation():
    # E sum w_i x_i = sum w_i a_i / sum a_i.
    a, w = torch.tensor([0.4, 1.0, 3.0], dtype=torch.float64), torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    rows = a.expand(20_000, 3).clone().requires_grad_()
    (w * samplers.dirichlet(rows, source=Key(1))).sum().backward()
    assert_mean(rows.grad, torch.func.grad(lambda a: (w * a).sum() / a.sum())(a))


def test_gradients_of_tiny_concentrations_are_finite():
    a = torch.full((100, 3), 1e-5, requires_grad=True)
    samplers.dirichlet(a, source=Key(0))[:, 0].sum().backward()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("module", "attach", "sampler", "parameter"),
    [
        (gamma_sampler, "_with_gradient", samplers.standard_gamma, 2.0),
        (gamma_sampler, "_with_log_gradient", samplers.log_standard_gamma, 0.7),
        (von_mises_sampler, "_with_gradient", samplers.von_mises, 3.0),
        (inverse_gaussian_sampler, "_with_gradient", samplers.standard_gamma, 1.5),
    ],
)
def test_the_second_derivative_is_that_of_the_slope_along_the_path(module, attach, sampler, parameter):
    attach = getattr(module, attach)
    x = sampler(torch.tensor(parameter, dtype=torch.float64), (8,), source=Key(4)).detach()

    def slope(x, p):
        p = torch.full_like(x, p)
        return torch.func.jvp(lambda p: attach(x, p), (p,), (torch.ones_like(p),))[1]

    h = 1e-5 * parameter
    along = h * slope(x, parameter)
    expected = (slope(x + along, parameter + h) - slope(x - along, parameter - h)) / (2 * h)

    p = torch.full_like(x, parameter, requires_grad=True)
    (first,) = torch.autograd.grad(attach(x, p).sum(), p, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), p)
    torch.testing.assert_close(second, expected, rtol=1e-5, atol=1e-7)


def test_a_truncated_normal_draw_has_its_second_derivative():
    # With both bounds moving along, (low, high) = (p, p + 1), the level stays and the slope of x is known.
    p = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x = samplers.truncated_normal(p, p + 1, (8,), source=Key(4))
    level = torch.tensor(stats.truncnorm(1.0, 2.0).cdf(x.detach().numpy()))

    def quantile(p):
        return stats.truncnorm(p, p + 1).ppf(level.numpy())

    h = 1e-3
    expected = (quantile(1 + h) - 2 * quantile(1.0) + quantile(1 - h)) / h**2
    for i in range(8):
        (first,) = torch.autograd.grad(x[i], p, create_graph=True)
        (second,) = torch.autograd.grad(first, p, retain_graph=True)
        # Rounding of the quantiles, 1e-15 / h^2, and the differences' own error of order h^2.
        assert abs(float(second) - expected[i]) < 1e-5
