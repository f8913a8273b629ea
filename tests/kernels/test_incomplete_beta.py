import mpmath as mp
import pytest
import torch
from torch import Tensor

from posterity.kernels import betainc, betaincc, betainccinv, betaincinv, log_betainc, log_betaincc

FUNCTIONS = [betainc, betaincc, log_betainc, log_betaincc]


def _lower(a: mp.mpf, b: mp.mpf, x: mp.mpf) -> mp.mpf:
    """DLMF 8.17.8: the series with the prefactor, all terms positive, in integers of 2^-200 for speed."""
    scale = 2**80
    n, m, x_ = int((a + b) * scale), int((a + 1) * scale), int(x * 2**200)
    term = total = 2**200
    while term > total >> 190:
        term = (term * x_ >> 200) * n // m
        total += term
        n, m = n + scale, m + scale
    return mp.exp(a * mp.log(x) + b * mp.log(1 - x) - mp.log(a) - mp.log(mp.beta(a, b))) * total / 2**200


def _reference(a: float, b: float, x: float) -> tuple[mp.mpf, mp.mpf]:
    """Both tails to thirty digits and more."""
    with mp.workdps(150):
        a, b, x = mp.mpf(a), mp.mpf(b), mp.mpf(x)
        if x > (a + 1) / (a + b + 2):
            return _reference(b, a, 1 - x)[::-1]
        if a * (1 - x) < 150 and x > 0.5:
            upper = _next_to_one(b, a, 1 - x)
            return 1 - upper, upper
        lower = _lower(a, b, x)
        return lower, 1 - lower


def _next_to_one(b: mp.mpf, a: mp.mpf, y: mp.mpf) -> mp.mpf:
    """The lower tail by DLMF 8.17.7 at y < 150 / a, where its terms grow to e^150 at most before they fall."""
    power, total, k = mp.mpf(1), 1 / b, 0
    while abs(power) > mp.mpf(10) ** -120 * abs(total) or k < a * y:
        k += 1
        power *= (k - a) * y / k
        total += power / (b + k)
    return y**b * total / mp.beta(a, b)


def _grid() -> tuple[Tensor, Tensor, Tensor]:
    """Quantiles from 1e-250 to 1 - 1e-16 of a and b from 1e-3 to 1e5."""
    values = [1e-3, 0.02, 0.5, 2.5, 40.0, 3e3, 1e5]
    lower = [1e-250, 1e-60, 1e-8, 0.03, 0.4]
    upper = [0.3, 1e-3, 1e-16]
    f64 = torch.float64
    a, b = (t.reshape(-1, 1) for t in torch.meshgrid(*[torch.tensor(values, dtype=f64)] * 2, indexing="ij"))
    x = torch.cat(
        [betaincinv(a, b, torch.tensor(lower, dtype=f64)), betainccinv(a, b, torch.tensor(upper, dtype=f64))], -1
    )
    a, b = a.expand_as(x), b.expand_as(x)
    keep = (x > 1e-300) & (x < 1)
    return a[keep], b[keep], x[keep]


def test_both_tails_agree_with_the_series_in_high_precision():
    a, b, x = _grid()
    assert a.numel() > 200
    for i, (lower, upper) in enumerate(map(_reference, a.tolist(), b.tolist(), x.tolist())):
        arguments = a[i], b[i], x[i]
        for exact, plain, log in ((lower, betainc, log_betainc), (upper, betaincc, log_betaincc)):
            if exact > 1e-290:
                assert abs(plain(*arguments).item() / exact - 1) < 1e-10, arguments
            assert abs(log(*arguments).item() - mp.log(exact)) < 1e-10 * max(1, abs(mp.log(exact))), arguments


def test_float32_arguments_lose_no_digits_to_large_parameters():
    a, b, x = (t.float() for t in _grid())
    keep = (x > 0) & (x < 1)
    wide = betainc(a[keep].double(), b[keep].double(), x[keep].double())
    normal = wide > 1e-37
    assert normal.sum() > 100
    error = (betainc(a[keep], b[keep], x[keep]).double() / wide - 1).abs()[normal]
    assert error.max() < 2**-23


@pytest.mark.parametrize("a", [0.4, 7.0, 2e3, 1e6])
def test_equal_parameters_halve_the_probability(a):
    assert betainc(torch.tensor(a, dtype=torch.float64), a, 0.5) == pytest.approx(0.5, rel=1e-11)


@pytest.mark.parametrize(("a", "b", "x"), [(0.05, 3.0, 1e-6), (0.3, 0.2, 0.7), (20.0, 4.0, 0.5), (300.0, 900.0, 0.2)])
def test_derivatives_by_the_parameters_agree_with_differences_in_high_precision(a, b, x):
    with mp.workdps(150):
        step = mp.mpf(2) ** -60

        def value(i, j):
            return mp.log(_lower(mp.mpf(a) + i * step, mp.mpf(b) + j * step, mp.mpf(x)))

        first = [(value(1, 0) - value(-1, 0)) / (2 * step), (value(0, 1) - value(0, -1)) / (2 * step)]
        second = [
            (value(1, 0) - 2 * value(0, 0) + value(-1, 0)) / step**2,
            (value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1)) / (4 * step**2),
            (value(0, 1) - 2 * value(0, 0) + value(0, -1)) / step**2,
        ]
    arguments = tuple(torch.tensor(v, dtype=torch.float64) for v in (a, b, x))
    gradient = torch.func.grad(log_betainc, argnums=(0, 1))(*arguments)
    hessian = torch.func.hessian(log_betainc, argnums=(0, 1))(*arguments)
    assert [g.item() for g in gradient] == pytest.approx([float(v) for v in first], rel=1e-8)
    entries = [hessian[0][0], hessian[0][1], hessian[1][1]]
    assert [h.item() for h in entries] == pytest.approx([float(v) for v in second], rel=1e-6)


def _arguments() -> tuple[Tensor, Tensor, Tensor]:
    values = [[0.5, 2.0, 30.0, 3.0, 0.3], [2.0, 0.7, 50.0, 4.0, 0.2], [0.1, 0.9, 0.4, 0.7, 0.6]]
    a, b, x = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values)
    return a, b, x


@pytest.mark.parametrize("function", [*FUNCTIONS, betaincinv, betainccinv])
def test_two_orders_of_derivatives_in_both_modes(function):
    arguments = _arguments()
    assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)
    # The fast mode projects the Jacobians on one direction; here are all entries, at fewer points.
    few = tuple(v[:2].detach().requires_grad_() for v in arguments)
    assert torch.autograd.gradcheck(function, few, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, few)


def test_third_derivatives_are_refused_by_name():
    a = torch.tensor(2.0, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="third derivatives by a and b"):
        torch.func.grad(torch.func.grad(torch.func.grad(log_betainc)))(a, 3.0, 0.4)


def test_the_complement_keeps_digits_next_to_one():
    y = torch.tensor([1e-30, 1e-200], dtype=torch.float64)
    a = torch.tensor(0.5, dtype=torch.float64)
    # I_x(1/2, 1/2) = 2 / pi asin(sqrt(x)), hence the upper tail 2 / pi asin(sqrt(1 - x)).
    torch.testing.assert_close(
        betaincc(a, a, 1 - y, complement=y), 2 / torch.pi * y.sqrt().asin(), rtol=1e-13, atol=0.0
    )
    x = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(betainc(a, 3.0, x, complement=1 - x).sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(betainc(a, 3.0, x).sum(), x)[0])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_edges_have_no_nan_in_values_or_gradients(function):
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(9).requires_grad_()
    pairs = [(a, b) for a in (0.5, 1.0, 3.0) for b in (0.5, 1.0, 3.0)]
    a, b = torch.tensor(pairs, dtype=torch.float64).repeat_interleave(2, 0).unbind(-1)
    a, b = a.requires_grad_(), b.requires_grad_()
    value = function(a, b, x)
    exact = {betainc: x, betaincc: 1 - x, log_betainc: x.log(), log_betaincc: (1 - x).log()}[function]
    torch.testing.assert_close(value, exact, rtol=0.0, atol=0.0)
    assert not any(g.isnan().any() for g in torch.autograd.grad(value.sum(), (a, b, x)))


@pytest.mark.parametrize("function", [*FUNCTIONS, betaincinv, betainccinv])
def test_invalid_arguments_give_nan(function):
    a = torch.tensor([-1.0, 0.0, torch.nan, 1.0, 1.0, 1.0, 1.0])
    b = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0])
    x = torch.tensor([0.5, 0.5, 0.5, 0.5, -0.1, 1.1, torch.nan])
    assert function(a, b, x).isnan().all()


@pytest.mark.parametrize("function", [*FUNCTIONS, betaincinv, betainccinv])
def test_not_a_tensor_is_an_error_that_names_the_function(function):
    with pytest.raises(TypeError, match=f"{function.__name__} takes real tensors"):
        function(1.0, 2.0, 0.5)


@pytest.mark.parametrize("function", [betainc, log_betaincc, betaincinv])
def test_meta_vmap_and_dtype(function):
    meta = function(torch.ones(3, 1, device="meta"), torch.ones(2, device="meta"), 0.5)
    assert meta.shape == (3, 2)
    assert meta.device.type == "meta"
    a, b, x = (t.detach() for t in _arguments())
    torch.testing.assert_close(torch.vmap(function)(a, b, x), function(a, b, x))
    assert function(a.float(), b.float(), x.float()).dtype == torch.float32


def test_compiled_values_are_the_eager_ones():
    compiled = torch.compile(betainc, fullgraph=True, backend="aot_eager")
    arguments = tuple(t.detach() for t in _arguments())
    torch.testing.assert_close(compiled(*arguments), betainc(*arguments))


def test_inverses_give_back_the_probability():
    generator = torch.Generator().manual_seed(0)
    a, b, depth = torch.rand(3, 20_000, generator=generator, dtype=torch.float64)
    a, b, log_p = 10 ** (8 * a - 3), 10 ** (8 * b - 3), -(10 ** (3 * depth - 0.24))
    p = log_p.exp().clamp(min=1e-250)
    x, z = betaincinv(a, b, p), betainccinv(a, b, p)
    # The upper quantile is the complement of the lower one of the swapped parameters; it has digits where it is small.
    torch.testing.assert_close(z, 1 - betaincinv(b, a, p), rtol=0.0, atol=1e-12)
    inside = (x > 1e-290) & (x < 0.9)
    assert inside.sum() > 5000
    a, b, x, p = a[inside], b[inside], x[inside].requires_grad_(), p[inside]
    logarithm = log_betainc(a, b, x)
    (slope,) = torch.autograd.grad(logarithm.sum(), x)
    # The function's stated error, and what four roundings of x make of log p.
    tolerance = 1e-11 + 4 * torch.finfo(x.dtype).eps * x * slope
    assert ((logarithm - p.log()).abs() <= tolerance).all()


def test_inverses_reach_the_ends():
    p = torch.tensor([0.0, 1.0], dtype=torch.float64)
    a = torch.tensor(2.0, dtype=torch.float64)
    assert betaincinv(a, 3.0, p).tolist() == [0.0, 1.0]
    assert betainccinv(a, 3.0, p).tolist() == [1.0, 0.0]
