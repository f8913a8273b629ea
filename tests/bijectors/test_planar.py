"""Planar and radial flows: invertible whatever the parameters, and their inverses are roots."""

import pytest
import torch

from posterity.bijectors import Planar, Radial
from posterity.bijectors.planar import PlanarMap, planar_height
from posterity.bijectors.radial import RadialMap


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_height_solves_its_equation(dtype):
    slope = torch.logspace(-3, 6, 46, dtype=dtype)[:, None]
    size = torch.cat([torch.logspace(-12, 7, 96, dtype=dtype), torch.zeros(1, dtype=dtype)])
    target = torch.cat([size, -size])
    height = planar_height(target, slope)
    a, k, v = height.double(), slope.double(), target.double()
    # A residual of a few eps of the terms.
    terms = a.abs() + (k - 1).abs() * a.tanh().abs() + v.abs()
    assert bool(((a + (k - 1) * a.tanh() - v).abs() <= 8 * torch.finfo(dtype).eps * terms).all())
    assert torch.equal(planar_height(-target, slope), -height)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planar_maps_are_invertible_whatever_the_direction(dtype):
    stream = torch.Generator().manual_seed(0)
    weight = torch.randn(500, 3, dtype=torch.float64, generator=stream)
    direction = 30 * torch.randn(500, 3, dtype=torch.float64, generator=stream)
    x = torch.randn(500, 3, dtype=torch.float64, generator=stream).to(dtype)
    planar = PlanarMap(direction.to(dtype), weight.to(dtype), weight.new_zeros(500).to(dtype))
    y, log_det = planar.forward_and_log_det(x)
    assert bool(log_det.isfinite().all())
    again = planar(planar.inverse(y))
    pushed, slope = planar._pushed()
    # The residual of the test above, along the direction; the map's slope is at most that much.
    scale = y.norm(dim=-1) + pushed.norm(dim=-1) * (1 + weight.to(dtype).norm(dim=-1)) * (1 + slope)
    assert bool(((again - y).norm(dim=-1) <= 64 * torch.finfo(dtype).eps * (1 + scale)).all())


def test_the_direction_is_kept_across_and_bent_along_the_weight():
    planar = PlanarMap(torch.tensor([-5.0, 2.0]), torch.tensor([1.0, 0.0]), torch.tensor(0.0))
    pushed, slope = planar._pushed()
    assert pushed[1] == 2.0
    # w . v = -5 would fold space; 1 + w . u is positive.
    assert 1 + float(pushed[0]) == pytest.approx(float(slope), abs=1e-6)
    assert float(slope) > 0


def test_a_weight_of_zero_shifts():
    planar = PlanarMap(torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor(0.5))
    y = planar(torch.ones(2))
    torch.testing.assert_close(y, 1 + torch.tensor([1.0, 2.0]) * torch.tensor(0.5).tanh())
    torch.testing.assert_close(planar.inverse(y), torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("width", "strength"), [(-20.0, 20.0), (20.0, -20.0), (0.0, 3.0), (-20.0, -20.0)])
def test_radial_maps_are_invertible_near_and_far(dtype, width, strength):
    center = torch.zeros(2, dtype=dtype)
    radial = RadialMap(center, torch.tensor(width, dtype=dtype), torch.tensor(strength, dtype=dtype))
    x = torch.logspace(-6, 6, 61, dtype=dtype)[:, None] * torch.tensor([0.6, -0.8], dtype=dtype)
    y, log_det = radial.forward_and_log_det(x)
    # No step cancels, so the error is relative, up to the condition number of the radius, which is at most
    # r g'(r) / g(r) inverted: computed here in float64.
    r = x.double().norm(dim=-1)
    alpha, gamma = (
        torch.nn.functional.softplus(torch.tensor(t, dtype=torch.float64)) + 1e-3 for t in (width, strength)
    )
    condition = (r + gamma) * (r + alpha) / (r * (r + 2 * alpha) + alpha * gamma)
    error = (radial.inverse(y) - x).norm(dim=-1).double() / r
    assert bool((error <= 32 * torch.finfo(dtype).eps * (1 + condition)).all())
    assert bool(log_det.isfinite().all())


def test_the_centre_stays_with_finite_gradients():
    radial = RadialMap(torch.ones(2), torch.tensor(0.0), torch.tensor(1.0))
    x = torch.ones(2, requires_grad=True)
    y, log_det = radial.forward_and_log_det(x)
    assert torch.equal(y, torch.ones(2))
    (y.sum() + log_det).backward()
    assert bool(x.grad.isfinite().all())
    assert torch.equal(radial.inverse(torch.ones(2)), torch.ones(2))


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_vectors_of_another_size_are_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} maps vectors of 3 entries, but got events of shape"):
        kind(3)(torch.zeros(5, 2))
