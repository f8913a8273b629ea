import mpmath as mp
import pytest
import torch
from torch import Tensor

from posterity.kernels import ndtr, student_t_cdf, student_t_icdf, student_t_log_cdf

FUNCTIONS = [student_t_cdf, student_t_log_cdf, student_t_icdf]
f64 = torch.float64


def _tail(df: float, r: float) -> mp.mpf:
    """P(T > r) by DLMF 8.17.8 in the smaller of df / (df + r^2) and its complement; all terms are positive."""
    with mp.workdps(150):
        df, square = mp.mpf(df), mp.mpf(r) ** 2
        half = mp.mpf(1) / 2
        x, y = df / (df + square), square / (df + square)
        if x <= (df / 2 + 1) / (df / 2 + half + 2):
            return _lower(df / 2, half, x, y) / 2
        return (1 - _lower(half, df / 2, y, x)) / 2


def _lower(a: mp.mpf, b: mp.mpf, x: mp.mpf, y: mp.mpf) -> mp.mpf:
    """The lower tail, with its series summed in integers of 2^-200 for speed."""
    scale = 2**400
    n, m, x_ = int((a + b) * scale), int((a + 1) * scale), int(x * 2**200)
    term = total = 2**200
    while term > total >> 150:
        term = (term * x_ >> 200) * n // m
        total += term
        n, m = n + scale, m + scale
    return x**a * y**b / (a * mp.beta(a, b)) * total / 2**200


def _grid() -> list[tuple[float, float]]:
    centre = [0.0, 1e-8, 1e-3, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0]
    far = [1e2, 1e4, 1e8, 1e50, 1e200, 1e300]
    points = [(df, r) for df in (0.05, 0.2, 0.7, 1.0, 3.0, 8.0, 39.0, 41.0, 100.0) for r in centre + far]
    return points + [(df, r) for df in (1e3, 1e5, 1e8) for r in centre[:4]]


@pytest.fixture(scope="module")
def reference() -> tuple[Tensor, Tensor, list[mp.mpf]]:
    points = _grid()
    df, r = torch.tensor(points, dtype=f64).unbind(-1)
    return df, r, [_tail(*point) for point in points]


def test_tails_agree_with_the_series_in_high_precision(reference):
    df, r, exact = reference
    for point, tail, log_tail, upper, value in zip(
        zip(df.tolist(), r.tolist(), strict=True),
        student_t_cdf(df, -r).tolist(),
        student_t_log_cdf(df, -r).tolist(),
        student_t_cdf(df, r).tolist(),
        exact,
        strict=True,
    ):
        if value > 1e-290:
            assert abs(tail / value - 1) < 1e-13, point
        assert abs(log_tail - mp.log(value)) < 1e-13 * max(1, abs(mp.log(value))), point
        assert abs(upper - (1 - value)) < 1e-13, point


def test_float32_keeps_its_digits(reference):
    df, r, exact = reference
    values = torch.tensor([float(v) for v in exact], dtype=f64)
    r32 = r.float()
    keep = (values > 1e-30) & (r32.double() == r) & (df.float().double() == df)
    assert keep.sum() > 30
    error = (student_t_cdf(df.float(), -r32).double() / values - 1).abs()[keep]
    assert error.max() < 2**-23


def test_quantiles_give_back_the_argument(reference):
    df, r, exact = reference
    p = torch.tensor([float(v) for v in exact], dtype=f64)
    keep = (r >= 0.3) & (p > 1e-290)
    assert keep.sum() > 60
    torch.testing.assert_close(student_t_icdf(df[keep], p[keep]), -r[keep], rtol=1e-12, atol=0.0)


def test_quantiles_of_random_levels():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 20_000, generator=generator, dtype=f64)
    df, log_p = 10 ** (9.3 * first - 1.3), -(10 ** (3.2 * second - 0.44))
    p = log_p.exp().clamp(min=1e-250).minimum(0.5 - torch.full_like(log_p, 1e-5))
    x = student_t_icdf(df, p)
    inside = x > -1e300
    error = (student_t_log_cdf(df, x) - p.log()).abs()[inside]
    # A rounding of x changes log p by at most x^2 eps, with x^2 < 1200 where the tail is a normal one.
    assert error.max() < 1e-10
    torch.testing.assert_close(
        student_t_icdf(df, 1 - p.clamp(min=0.1)), -student_t_icdf(df, 1 - (1 - p.clamp(min=0.1)))
    )


def test_closed_forms_at_one_and_two_degrees_of_freedom():
    r = torch.logspace(-3, 6, 50, dtype=f64)
    # Cauchy: atan(1 / r) / pi; two degrees: 1 / (q (q + r)) with q = sqrt(2 + r^2).
    torch.testing.assert_close(student_t_cdf(torch.ones_like(r), -r), (1 / r).atan() / torch.pi, rtol=1e-13, atol=0.0)
    root = (2 + r * r).sqrt()
    torch.testing.assert_close(student_t_cdf(2 * torch.ones_like(r), -r), 1 / (root * (root + r)), rtol=1e-13, atol=0.0)


def test_the_limit_is_normal():
    x = torch.linspace(-30, 8, 77, dtype=f64)
    for df in (1e18, torch.inf):
        torch.testing.assert_close(student_t_cdf(torch.full_like(x, df), x), ndtr(x), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_two_orders_of_derivatives_in_both_modes(function):
    df = torch.tensor([0.3, 1.0, 5.0, 45.0, 300.0], dtype=f64, requires_grad=True)
    values = [0.01, 0.6, 0.3, 0.9, 0.05] if function is student_t_icdf else [-2.0, 0.7, -0.3, 1.5, -2.0]
    x = torch.tensor(values, dtype=f64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (df, x), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (df, x), fast_mode=True)
    # The fast mode projects the Jacobians on one direction; here are all entries, at fewer points.
    few = tuple(v[1:4].detach().requires_grad_() for v in (df, x))
    assert torch.autograd.gradcheck(function, few, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, few)


@pytest.mark.parametrize("df", [0.3, 7.0, 60.0, 1e4, 1e7])
def test_the_derivative_by_df_agrees_with_quadrature_in_high_precision(df):
    # The tail's derivative is the integral of the density's; it falls as 1 / df^2.
    with mp.workdps(40):
        v = mp.mpf(df)

        def density(s, v):
            ratio = mp.loggamma((v + 1) / 2) - mp.loggamma(v / 2)
            return mp.exp(ratio - mp.log(v * mp.pi) / 2 - (v + 1) / 2 * mp.log1p(s * s / v))

        constant = (mp.digamma((v + 1) / 2) - mp.digamma(v / 2) - 1 / v) / 2

        def slope(s):
            z = s * s / v
            return density(s, v) * (constant - mp.log1p(z) / 2 + (v + 1) / (2 * v) * z / (1 + z))

        # From 0 to 1.5 the negative of the tail's derivative, because that of P(T > 0) = 1/2 is zero.
        exact = float(mp.quad(slope, [0, 0.5, 1, 1.5]))
    gradient = torch.func.grad(student_t_cdf)(torch.tensor(df, dtype=f64), torch.tensor(1.5, dtype=f64))
    assert gradient.item() == pytest.approx(exact, rel=1e-8)


def test_edges_have_no_nan_in_values_or_gradients():
    df = torch.tensor([0.05, 1.0, 50.0, 1e8], dtype=f64).reshape(-1, 1).expand(4, 3).clone().requires_grad_()
    x = torch.tensor([-torch.inf, 0.0, torch.inf], dtype=f64).expand(4, 3).clone().requires_grad_()
    p = torch.tensor([0.0, 0.5, 1.0], dtype=f64).expand(4, 3).clone().requires_grad_()
    cdf, icdf = student_t_cdf(df, x), student_t_icdf(df, p)
    torch.testing.assert_close(cdf, p, rtol=1e-10, atol=0.0)
    assert torch.equal(icdf, x)
    for value, point in ((cdf, x), (student_t_log_cdf(df, x), x), (icdf, p)):
        assert not any(g.isnan().any() for g in torch.autograd.grad(value.sum(), (df, point)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_invalid_arguments_give_nan(function):
    df = torch.tensor([-1.0, 0.0, torch.nan, 1.0])
    assert function(df, torch.tensor([0.5, 0.5, 0.5, torch.nan])).isnan().all()
    if function is student_t_icdf:
        assert function(torch.ones(2), torch.tensor([-0.1, 1.1])).isnan().all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_not_a_tensor_is_an_error_that_names_the_function(function):
    with pytest.raises(TypeError, match=f"{function.__name__} takes real tensors"):
        function(1.0, 0.5)


def test_third_derivatives_are_refused_by_name():
    with pytest.raises(NotImplementedError, match="third derivatives by a and b"):
        torch.func.grad(torch.func.grad(torch.func.grad(student_t_cdf)))(torch.tensor(50.0, dtype=f64), -0.4)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_meta_vmap_and_dtype(function):
    meta = function(torch.ones(3, 1, device="meta"), torch.full((2,), 0.3, device="meta"))
    assert meta.shape == (3, 2)
    assert meta.device.type == "meta"
    df = torch.tensor([0.5, 3.0, 100.0], dtype=f64, requires_grad=True)
    x = torch.tensor([0.2, 0.6, 0.9], dtype=f64, requires_grad=True)
    torch.testing.assert_close(torch.vmap(function)(df, x), function(df, x))
    assert function(df.float(), x.float()).dtype == torch.float32


def test_compiled_values_are_the_eager_ones():
    df, x = torch.tensor([[0.5, 3.0, 100.0], [-0.2, 0.6, 9.0]], dtype=f64)
    compiled = torch.compile(student_t_cdf, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(df, x), student_t_cdf(df, x))


def test_float32_quantiles_are_those_of_the_argument_to_a_rounding():
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 20_000, generator=generator, dtype=f64)
    df, p = (10 ** (9.3 * first - 1.3)).float(), (0.5 * 10 ** (-36 * second)).float()
    exact = student_t_icdf(df.double(), p.double())
    reached = exact.abs() < 3e38
    # A rounding of p, and one of the result; the quadrature is off by 3e-8 of p.
    moved = p.double() * torch.func.vmap(torch.func.grad(student_t_icdf, argnums=1))(df.double(), p.double())
    allowed = 2.0**-23 * (moved.abs() + exact.abs())
    error = (student_t_icdf(df, p).double() - exact).abs()
    assert reached.sum() > 15_000
    assert (error <= allowed)[reached].all()
