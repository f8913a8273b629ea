"""Rational-quadratic splines: monotone, linear outside, and invertible in float32 whatever the parameters."""

import pytest
import torch

from posterity.bijectors import RationalQuadraticSpline

BOUND = 3.0


def _spline(spread, dtype=torch.float64, bins=6, seed=0):
    stream = torch.Generator().manual_seed(seed)
    tables = [spread * torch.randn(n, dtype=torch.float64, generator=stream) for n in (bins, bins, bins - 1)]
    return RationalQuadraticSpline(*(table.to(dtype) for table in tables), bound=BOUND)


def test_zeros_make_the_identity():
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    y, log_det = _spline(0.0).forward_and_log_det(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_det, torch.zeros_like(x))


def test_outside_the_bound_it_is_the_identity_and_joins_smoothly():
    spline = _spline(1.0)
    outside = torch.tensor([-100.0, -BOUND - 1e-9, BOUND + 1e-9, 1e30], dtype=torch.float64)
    assert torch.equal(spline(outside), outside)
    assert torch.equal(spline.inverse(outside), outside)
    assert torch.equal(spline.forward_log_det_jacobian(outside), torch.zeros(4, dtype=torch.float64))
    edge = torch.tensor([-BOUND, BOUND], dtype=torch.float64)
    torch.testing.assert_close(spline(edge), edge, rtol=0, atol=0)
    # Slopes are Lipschitz, with a constant far below 1e4 for these parameters.
    just_inside = edge * (1 - 1e-9)
    torch.testing.assert_close(spline.forward_log_det_jacobian(just_inside), torch.zeros_like(edge), rtol=0, atol=1e-4)


def test_knots_and_slopes_are_those_of_the_parameters():
    spline = _spline(1.0)
    shares = [1e-3 + (1 - 6e-3) * raw.softmax(-1) for raw in (spline.widths, spline.heights)]
    x, y = (BOUND * (2 * share.cumsum(-1)[:-1] - 1) for share in shares)
    torch.testing.assert_close(spline(x), y)
    slopes = 1e-3 + torch.nn.functional.softplus(spline.slopes + torch.tensor(1 - 1e-3).expm1().log())
    torch.testing.assert_close(spline.forward_log_det_jacobian(x), slopes.log(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
def test_it_is_stable_for_extreme_parameters(dtype, spread):
    eps = torch.finfo(dtype).eps
    grid = torch.linspace(-BOUND, BOUND, 4001, dtype=dtype)
    for seed in range(5):
        spline = _spline(spread, dtype, seed=seed)
        y, log_det = spline.forward_and_log_det(grid)
        x, inverse_log_det = spline.inverse_and_log_det(grid)
        for value in (y, log_det, x, inverse_log_det):
            assert bool(value.isfinite().all())
        # Both are exact for values that lie within a few eps of those given.
        assert bool((y.diff() >= -16 * eps * BOUND).all())
        slope = inverse_log_det.neg().exp().clamp(max=1e6)
        assert bool(((spline(x) - grid).abs() <= 32 * eps * BOUND * (1 + slope)).all())


def test_gradients_of_the_inverse_are_finite_for_extreme_parameters():
    spline = _spline(100.0, torch.float32)
    leaves = [t.requires_grad_() for t in (spline.widths, spline.heights, spline.slopes)]
    y = torch.linspace(-4, 4, 401).requires_grad_()
    x, log_det = spline.inverse_and_log_det(y)
    (x.sum() + log_det.sum()).backward()
    assert all(bool(t.grad.isfinite().all()) for t in [*leaves, y])


def test_one_bin_is_allowed():
    spline = RationalQuadraticSpline(torch.zeros(1), torch.zeros(1), torch.zeros(0), bound=2.0)
    torch.testing.assert_close(spline(torch.tensor(0.5)), torch.tensor(0.5))


def test_parameters_are_checked():
    zeros = torch.zeros
    with pytest.raises(TypeError, match="widths of RationalQuadraticSpline must be a real floating tensor, not list"):
        RationalQuadraticSpline([0.0], zeros(1), zeros(0))
    with pytest.raises(ValueError, match=r"K - 1 knots between them, .* have shapes \(3,\), \(3,\), \(3,\)"):
        RationalQuadraticSpline(zeros(3), zeros(3), zeros(3))
    with pytest.raises(ValueError, match="has room for less than 1000 bins, not for 1000"):
        RationalQuadraticSpline(zeros(1000), zeros(1000), zeros(999))
    with pytest.raises(ValueError, match="bound of RationalQuadraticSpline must be positive, but is 0"):
        RationalQuadraticSpline(zeros(2), zeros(2), zeros(1), bound=0.0)


@pytest.mark.parametrize("spread", [1.0, 3.0, 8.0])
def test_in_float32_narrow_bins_keep_their_log_dets(spread):
    eps = torch.finfo(torch.float32).eps
    x = torch.linspace(-BOUND, BOUND, 1001)
    shifts = BOUND * eps * torch.tensor([-8.0, -4.0, -1.0, 0.0, 1.0, 4.0, 8.0], dtype=torch.float64)[:, None]
    for seed in range(5):
        single = _spline(spread, torch.float32, seed=seed)
        tables = (single.widths, single.heights, single.slopes)
        double = RationalQuadraticSpline(*(table.double() for table in tables), bound=BOUND)
        exact = double.forward_log_det_jacobian(x.double())
        # A value or a knot moved by a few eps of the bound moves the log-det by that times its steepness nearby; the
        # rest is rounding of some tens of operations.
        steep = torch.func.grad(lambda x, curve=double: curve.forward_log_det_jacobian(x).sum())(x.double() + shifts)
        error = (single.forward_log_det_jacobian(x).double() - exact).abs()
        assert bool((error <= 32 * eps * (1 + BOUND * steep.abs().amax(0))).all())
