"""Where images round to the edge of the codomain, in both dtypes: everything stays finite and inside, and log-dets
are those of the exact map.
"""

import math
import shutil

import mpmath
import pytest
import torch

from posterity.bijectors import (
    HalfLine,
    Sigmoid,
    Sinh,
    SinhArcsinh,
    Softplus,
    Softsign,
    StickBreaking,
    Tanh,
    UnitVector,
    constraints,
)
from posterity.bijectors.softplus import log1mexp

EXTREMES = [
    (Sigmoid(), [-1000.0, -90.0, -20.0, 20.0, 90.0, 1000.0]),
    (Sigmoid(-1.0, 3.0), [-100.0, -20.0, 20.0, 100.0]),
    (Sigmoid(1000.0, 1001.0), [-30.0, 30.0]),
    (Tanh(), [-100.0, -10.0, 10.0, 100.0]),
    (Softsign(), [-1e12, 1e8]),
    (Softplus(), [-87.0, -80.0, 80.0, 1e4]),
    (SinhArcsinh(0.5, 2.0), [-1e8, 1e8, 1e18]),
    (SinhArcsinh(0.5, 0.3), [-1e8, 1e8, 1e30]),
    (Sinh(), [-80.0, 80.0]),
    (HalfLine(1.0), [-200.0, -20.0, 20.0]),
    (HalfLine(-5.0, above=False), [-200.0, -20.0, 20.0]),
    (HalfLine(0.0), [-200.0, 20.0]),
]

every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.mark.parametrize(("bijector", "x"), EXTREMES, ids=lambda value: repr(value))
@every_dtype
def test_values_log_dets_and_gradients_are_finite_and_inside(bijector, x, dtype):
    x = torch.tensor(x, dtype=dtype, requires_grad=True)
    y, log_det = bijector.forward_and_log_det(x)
    inside = y.detach().requires_grad_()
    assert bool(bijector.codomain.check(inside).all())
    back, inverse_log_det = bijector.inverse_and_log_det(inside)
    gradients = torch.autograd.grad((y + log_det).sum(), x) + torch.autograd.grad(
        (back + inverse_log_det).sum(), inside
    )
    for tensor in (y, log_det, back, inverse_log_det, *gradients):
        assert bool(tensor.isfinite().all())
    assert torch.equal(bijector.with_cache().inv.inverse(x), y)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-1.0, 3.0), (-2.0, 0.0), (1000.0, 1001.0)])
@every_dtype
def test_the_image_of_a_sigmoid_is_open_though_its_codomain_is_closed(ends, dtype):
    y = Sigmoid(*ends)(torch.tensor([-1000.0, 1000.0], dtype=dtype))
    assert ends[0] < float(y[0]) < float(y[1]) < ends[1]
    back = Sigmoid(*ends).inverse(torch.tensor(ends, dtype=dtype))
    assert bool(back.isfinite().all())


def test_the_end_of_an_interval_moves_with_what_rounds_to_it():
    high = torch.tensor(3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(Sigmoid(0.0, high)(torch.tensor(200.0)), high)
    assert float(slope) == 1


@pytest.mark.parametrize(
    ("bijector", "log_slope"),
    [
        (Sigmoid(), lambda x: -x - 2 * mpmath.log1p(mpmath.exp(-x))),
        (Tanh(), lambda x: -2 * mpmath.log(mpmath.cosh(x))),
        (Softplus(), lambda x: -mpmath.log1p(mpmath.exp(-x))),
        (Softsign(), lambda x: -2 * mpmath.log1p(abs(x))),
        (Sinh(), lambda x: mpmath.log(mpmath.cosh(x))),
        (
            SinhArcsinh(0.5, 2.0),
            lambda x: mpmath.log(2 * mpmath.cosh(2 * (mpmath.asinh(x) + 0.5)) / mpmath.sqrt(1 + x**2)),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@every_dtype
def test_log_dets_are_exact_far_out(bijector, log_slope, dtype):
    points = [-80.0, -20.0, -10.0, -1.0, -1e-3, 0.0, 0.3, 10.0, 20.0, 80.0]
    log_det = bijector.forward_log_det_jacobian(torch.tensor(points, dtype=dtype))
    with mpmath.workdps(60):
        for point, ours in zip(points, log_det, strict=True):
            exact = log_slope(mpmath.mpf(float(torch.tensor(point, dtype=dtype))))
            # The terms of the formulas are as large as x, or 1.
            assert abs(float(ours) - float(exact)) <= 4 * torch.finfo(dtype).eps * (1 + abs(float(exact)) + abs(point))


@pytest.mark.parametrize("x", [-80.0, -20.0, 20.0, 80.0])
def test_softplus_comes_back_in_single_precision(x):
    value = torch.tensor(x)
    assert float(Softplus().inverse(Softplus()(value))) == pytest.approx(x, rel=1e-6)


def test_log_of_one_minus_an_exponential():
    t = torch.logspace(-30, 2, 40)
    with mpmath.workdps(50):
        exact = [float(mpmath.log(-mpmath.expm1(-mpmath.mpf(float(v))))) for v in t]
    for ours, expected in zip(log1mexp(t).tolist(), exact, strict=True):
        assert ours == pytest.approx(expected, rel=8 * torch.finfo(torch.float32).eps)


def test_simplices_with_an_empty_corner_come_back_finite():
    y = torch.tensor([1.0, 0.0, 0.0])
    back, log_det = StickBreaking().inverse_and_log_det(y)
    assert bool(back.isfinite().all())
    assert math.isfinite(float(log_det))
    corner = StickBreaking()(torch.tensor([200.0, 0.0]))
    torch.testing.assert_close(corner, y)
    assert float(StickBreaking().forward_log_det_jacobian(torch.tensor([200.0, 0.0]))) < -390


def test_log_dets_of_a_sigmoid_are_smooth_at_the_centre():
    curvature = torch.func.grad(torch.func.grad(Sigmoid().forward_log_det_jacobian))(torch.tensor(0.0))
    assert float(curvature) == -0.5


@every_dtype
def test_the_sphere_is_reached_near_both_poles(dtype):
    x = torch.tensor([[0.0, 0.0], [1e-18, 0.0], [1e12, -1e12], [3e18, 0.0], [1e30, 1e30]], dtype=dtype)
    y, log_det = UnitVector().forward_and_log_det(x.requires_grad_())
    assert bool(constraints.sphere.check(y).all())
    (gradient,) = torch.autograd.grad((y.sum(-1) + log_det).sum(), x)
    assert bool(gradient.isfinite().all())
    exact = [2 * (math.log(2) - math.log1p(float(row.double().square().sum()))) for row in x.detach()]
    torch.testing.assert_close(log_det.double(), torch.tensor(exact, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    # Squares of less than the least normal number are lost.
    near = x[:4].detach()
    torch.testing.assert_close(UnitVector().inverse(y[:4].detach()), near, rtol=1e-6, atol=0)


def test_the_pole_itself_is_finite():
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], requires_grad=True)
    x, log_det = UnitVector().inverse_and_log_det(poles)
    (gradient,) = torch.autograd.grad((x.sum(-1) + log_det).sum(), poles)
    for tensor in (x, log_det, gradient):
        assert bool(tensor.isfinite().all())


@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler here"
)
def test_a_compiled_interval_is_as_open_as_an_eager_one():
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 5.0])

    def both(x):
        bijector = Sigmoid(low, high)
        y, log_det = bijector.forward_and_log_det(x)
        return y, log_det, bijector.inverse(y)

    x = torch.tensor([[-200.0, -20.0], [0.5, 20.0], [3.0, 200.0]])
    compiled = torch.compile(both, fullgraph=True)(x)
    for ours, eager in zip(compiled, both(x), strict=True):
        torch.testing.assert_close(ours, eager)
    assert bool(((compiled[0] > low) & (compiled[0] < high)).all())
