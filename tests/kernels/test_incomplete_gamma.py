import math

import mpmath as mp
import numpy as np
import pytest
import scipy.special
import torch

from posterity.kernels import gamma_quantile_slope, gammainc, gammaincc
from tests.kernels.gamma_reference import concentration_derivatives, tails

CONCENTRATIONS = [1e-4, 1e-3, 0.01, 0.1, 0.5, 0.99, 1.0, 1.5, 3.9, 5.99, 6.0, 10.0, 100.0, 1e3, 1e4, 1e6]
LEVELS = [1e-250, 1e-30, 1e-4, 0.1, 0.5]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
SLOPE_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


def grid(dtype):
    """Concentrations against the quantiles of both tails, the seams of the method, and the far left."""
    smallest = 1e-300 if dtype == torch.float64 else 1e-37
    points = []
    for a in CONCENTRATIONS:
        x = {float(inverse(a, level)) for inverse in (scipy.special.gammaincinv, scipy.special.gammainccinv)
             for level in LEVELS if a < 1e5 or level > 1e-31}  # fmt: skip
        x |= {1e-20, 0.3, 0.999, 1.001, 1.3} if a < 50 else set()
        points += [(a, v) for v in x | {a, 1.001 * a} if v > smallest]
    return torch.tensor(points, dtype=dtype).unbind(1)


def assert_relative(ours, exact, tolerance):
    smallest = torch.finfo(ours.dtype).tiny
    checked = 0
    for value, reference in zip(ours.tolist(), exact, strict=True):
        if smallest < abs(reference) < torch.finfo(ours.dtype).max:
            assert abs(value / reference - 1) <= tolerance, (checked, value, reference)
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_both_tails_keep_relative_accuracy(dtype):
    a, x = grid(dtype)
    exact = [tails(*point) for point in zip(a.tolist(), x.tolist(), strict=True)]
    assert_relative(gammainc(a, x), [p for p, _, _ in exact], TOLERANCE[dtype])
    assert_relative(gammaincc(a, x), [q for _, q, _ in exact], TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_derivatives_are_relatively_accurate(dtype):
    a, x = grid(dtype)
    points = list(zip(a.tolist(), x.tolist(), strict=True))
    log_density = [tails(*point)[2] for point in points]
    slopes = [concentration_derivatives(*point)[0] for point in points]
    leaf_a, leaf_x = a.clone().requires_grad_(), x.clone().requires_grad_()
    by_a, by_x = torch.autograd.grad(gammainc(leaf_a, leaf_x).sum(), (leaf_a, leaf_x))
    assert_relative(by_a, slopes, SLOPE_TOLERANCE[dtype])
    assert_relative(by_x, [mp.exp(value) for value in log_density], TOLERANCE[dtype])
    quantile = [-slope / mp.exp(value) for slope, value in zip(slopes, log_density, strict=True)]
    assert_relative(gamma_quantile_slope(a, x), quantile, TOLERANCE[dtype])


def test_second_derivative_in_the_concentration():
    a = torch.tensor([0.01, 0.5, 0.5, 3.0, 5.0, 7.0, 50.0, 50.0, 1e4], dtype=torch.float64)
    x = torch.tensor([1e-3, 0.2, 2.0, 1.0, 9.0, 3.0, 40.0, 70.0, 1.01e4], dtype=torch.float64)
    second = torch.func.vmap(torch.func.grad(torch.func.grad(gammainc)))(a, x)
    exact = [float(concentration_derivatives(*p)[1]) for p in zip(a.tolist(), x.tolist(), strict=True)]
    torch.testing.assert_close(second, torch.tensor(exact, dtype=a.dtype), rtol=1e-8, atol=1e-12)


A = torch.tensor([0.05, 0.7, 0.7, 2.5, 5.5, 8.0, 40.0, 40.0], dtype=torch.float64, requires_grad=True)
X = torch.tensor([0.01, 0.4, 3.0, 1.0, 8.0, 5.0, 30.0, 60.0], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("function", [gammainc, gammaincc, gamma_quantile_slope])
def test_first_and_second_order_in_both_modes(function):
    assert torch.autograd.gradcheck(function, (A, X), check_forward_ad=True, check_batched_grad=True, rtol=1e-5)
    # The second order of the quantile slope would be the third of P.
    assert function is gamma_quantile_slope or torch.autograd.gradgradcheck(function, (A, X), rtol=1e-4)


def test_the_tails_are_complementary():
    a, x = grid(torch.float64)
    torch.testing.assert_close(gammainc(a, x) + gammaincc(a, x), torch.ones_like(a), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_quantile_slope_agrees_with_torchs_implicit_gradient(dtype):
    generator = torch.Generator().manual_seed(3)
    a = 10 ** (6 * torch.rand(2000, dtype=dtype, generator=generator) - 2)
    x = torch.distributions.Gamma(a, torch.ones_like(a)).sample()
    usable = x > torch.finfo(dtype).tiny ** 0.5
    # torch's own approximation is stated to a relative 5e-4.
    torch.testing.assert_close(
        gamma_quantile_slope(a, x)[usable], torch._standard_gamma_grad(a, x)[usable], rtol=2e-3, atol=0
    )


def test_limits_and_arguments_outside():
    inf, nan = math.inf, math.nan
    a = torch.tensor([0.5, 1.0, 2.0, 2.0, 0.0, inf, 0.0, inf, -1.0, 2.0, nan, 2.0])
    x = torch.tensor([0.0, 0.0, 0.0, inf, 1.0, 1.0, 0.0, inf, 1.0, -1.0, 1.0, nan])
    lower = torch.tensor([0.0, 0, 0, 1, 1, 0, nan, nan, nan, nan, nan, nan])
    torch.testing.assert_close(gammainc(a, x), lower, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(gammaincc(a, x), 1 - lower, equal_nan=True, rtol=0, atol=0)
    leaves = a[:6].clone().requires_grad_(), x[:6].clone().requires_grad_()
    by_a, by_x = torch.autograd.grad(gammainc(*leaves).sum(), leaves)
    # At a = 0 the derivative of P in a is -E1(x).
    expected = torch.tensor([0.0, 0, 0, 0, float(-scipy.special.exp1(1.0)), 0])
    torch.testing.assert_close(by_a, expected, rtol=2e-5, atol=0)
    torch.testing.assert_close(by_x, torch.tensor([inf, 1.0, 0, 0, 0, 0]))
    assert gamma_quantile_slope(a[:4], x[:4]).tolist() == [0, 0, 0, inf]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_finite_over_the_whole_range(dtype):
    a = torch.logspace(-30, 30, 121, dtype=dtype)[:, None].expand(121, 121).clone().requires_grad_()
    x = torch.logspace(-30, 30, 121, dtype=dtype).expand(121, 121).clone().requires_grad_()
    for function in (gammainc, gammaincc, gamma_quantile_slope):
        value = function(a, x)
        by_a, by_x = torch.autograd.grad(value.sum(), (a, x))
        assert not value.isnan().any()
        if function is not gamma_quantile_slope:
            assert ((value >= 0) & (value <= 1)).all()
            assert not (by_a.isnan() | by_x.isnan()).any()


def test_third_derivative_in_the_concentration_is_refused():
    third = torch.func.grad(torch.func.grad(torch.func.grad(gammainc)))
    with pytest.raises(NotImplementedError, match="two derivatives in the concentration"):
        third(torch.tensor(2.0), torch.tensor(1.0))


def test_compiled_in_one_graph_with_gradients():
    torch.compiler.reset()

    def total(a, x):
        return gammainc(a, x).sum()

    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    for ours, exact in zip(
        torch.autograd.grad(compiled(A, X), (A, X)), torch.autograd.grad(total(A, X), (A, X)), strict=True
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-14)


def test_vmap_and_meta():
    torch.testing.assert_close(torch.vmap(lambda a: gammainc(a, X))(A), gammainc(A[:, None], X))
    assert gammainc(A.detach().to("meta"), X.detach().to("meta")).shape == A.shape


def test_large_float32_concentration_against_scipy():
    generator = np.random.default_rng(5)
    a = (10 ** generator.uniform(2, 6, 3000)).astype(np.float32)
    x = generator.gamma(a).astype(np.float32)
    exact = scipy.special.gammaincc(a.astype(np.float64), x.astype(np.float64))
    ours = gammaincc(torch.tensor(a), torch.tensor(x)).double().numpy()
    np.testing.assert_allclose(ours, exact, rtol=2e-5)
