"""The implicit derivative of von Mises-Fisher versines, against a closed form and against exact quadrature."""

import math

import mpmath
import pytest
import torch

from posterity.kernels.samplers.von_mises_sampler import _with_fisher_gradient
from posterity.kernels.von_mises_fisher import versine_drift


def _drift(versine, concentration, dimension, dtype=torch.float64):
    given = (torch.tensor([v], dtype=dtype) for v in (versine, concentration, float(dimension)))
    return float(versine_drift(*given))


def _exact(versine, concentration, dimension):
    """Minus the derivative of the cdf over the density, in 30 digits."""
    with mpmath.workdps(30):
        kappa, order = mpmath.mpf(concentration), mpmath.mpf(dimension) / 2
        end = mpmath.acos(1 - mpmath.mpf(versine))
        mean = 1 - mpmath.besseli(order, kappa) / mpmath.besseli(order - 1, kappa)

        def integrand(t):
            growth = (dimension - 2) * mpmath.log(mpmath.sin(t) / mpmath.sin(end))
            return (1 - mpmath.cos(t) - mean) * mpmath.exp(growth + kappa * (mpmath.cos(t) - mpmath.cos(end)))

        width = 1 / mpmath.sqrt(kappa + dimension)
        cuts = [mpmath.mpf(0), *(max(mpmath.mpf(0), end - j * width) for j in (16, 8, 4, 2, 1)), end]
        return float(mpmath.sin(end) * mpmath.quad(integrand, sorted(set(cuts))))


@pytest.mark.parametrize("concentration", [1e-3, 0.7, 30.0, 300.0])
def test_on_the_ordinary_sphere_it_is_that_of_the_closed_quantile(concentration):
    # F(v) = (1 - e^(-k v)) / (1 - e^(-2 k)).
    k = torch.tensor(concentration, dtype=torch.float64, requires_grad=True)
    for share in (1e-6, 0.2, 0.9, 1.1, 3.0):
        v = torch.tensor(min(share / (1 + concentration), 1.99), dtype=torch.float64, requires_grad=True)
        cdf = torch.expm1(-k * v) / torch.expm1(-2 * k)
        by_value, by_concentration = torch.autograd.grad(cdf, (v, k))
        # The reference subtracts nearly equal parts where k v is small, and loses digits to it.
        expected, product = float(-by_concentration / by_value), concentration * float(v.detach())
        assert _drift(float(v.detach()), concentration, 3) == pytest.approx(expected, rel=1e-8 + 1e-15 / product)


@pytest.mark.parametrize("dimension", [2, 5, 1000])
@pytest.mark.parametrize("concentration", [0.01, 30.0, 1e4])
def test_it_agrees_with_quadrature_in_any_dimension(dimension, concentration):
    mean = float(1 - mpmath.besseli(dimension / 2, concentration) / mpmath.besseli(dimension / 2 - 1, concentration))
    for share in (0.2, 0.9, 1.1):
        versine = share * mean
        expected = _exact(versine, concentration, dimension)
        assert _drift(versine, concentration, dimension) == pytest.approx(expected, rel=1e-10)
        # What the rounding of the inputs does to a derivative that is smooth over one standard deviation.
        steepness = 1 + math.sqrt(concentration + dimension)
        assert _drift(versine, concentration, dimension, torch.float32) == pytest.approx(expected, rel=1e-6 * steepness)


def test_it_is_finite_at_the_poles():
    versine = torch.tensor([0.0, 2.0, 0.0, 2.0, 1e-38])
    drift = versine_drift(versine, torch.tensor([1e8, 0.0, 0.0, 50.0, 1e30]), torch.tensor([3.0, 3.0, 2.0, 7.0, 4.0]))
    assert bool(drift.isfinite().all())


@pytest.mark.parametrize("dimension", [2.0, 3.0, 7.0])
def test_it_can_be_differentiated_again(dimension):
    versine = torch.tensor([0.2, 1.2], dtype=torch.float64, requires_grad=True)
    concentration = torch.tensor([2.0, 2.0], dtype=torch.float64, requires_grad=True)
    size = torch.full_like(versine, dimension)
    assert torch.autograd.gradcheck(lambda v, k: versine_drift(v, k, size), (versine, concentration))


def test_the_gradient_compiles_into_one_graph():
    draw = torch.tensor([0.3, 0.6], dtype=torch.float64)
    concentration = torch.tensor([3.0, 5.0], dtype=torch.float64, requires_grad=True)

    def moved(concentration):
        return _with_fisher_gradient(draw, concentration, 4).sum()

    torch.compiler.reset()
    compiled = torch.compile(moved, fullgraph=True, backend="aot_eager")
    (slopes,) = torch.autograd.grad(compiled(concentration), concentration)
    torch.testing.assert_close(slopes, versine_drift(draw, concentration.detach(), torch.full_like(draw, 4.0)))
