"""What every special function is held to: exact values, derivatives of two orders, vmap, compiled graphs, NaN."""

import math

import mpmath
import pytest
import torch

# The accuracy that the library promises for its special functions, relative to the exact value.
PROMISED = {torch.float64: 1e-10, torch.float32: 2e-5}
both_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def single(value):
    """Rounded to float32, so that both dtypes hold the same number exactly."""
    return float(torch.tensor(value, dtype=torch.float32))


def assert_exact(function, table, dtype, promised=None):
    """Over a table from arguments to exact values, skipping those that the dtype cannot hold as normal numbers."""
    promised = promised or PROMISED[dtype]
    smallest, largest = 4 * torch.finfo(dtype).tiny, torch.finfo(dtype).max
    held = {a: e for a, e in table.items() if e == 0 or smallest < abs(e) < largest}
    assert len(held) > len(table) // 3
    arguments = [torch.tensor(column, dtype=dtype) for column in zip(*held, strict=True)]
    actual = function(*arguments)
    assert actual.dtype == dtype
    errors = {}
    for value, (point, exact) in zip(actual.tolist(), held.items(), strict=True):
        error = abs(value) if exact == 0 else float(abs(mpmath.mpf(value) - exact) / abs(exact))
        errors[point] = math.inf if math.isnan(error) else error
    worst = max(errors, key=errors.get)
    assert errors[worst] <= promised, f"relative error {errors[worst]:.2e} at {worst}"


def assert_differentiable(function, *arguments):
    """Against finite differences, in the first and second order, in reverse and forward mode."""
    arguments = [a.clone().requires_grad_() for a in arguments]
    assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, arguments)


def assert_composes(function, *arguments):
    """The same under vmap, in one compiled graph with its gradient, and on the meta device."""
    plain = function(*arguments)
    torch.testing.assert_close(torch.vmap(function)(*arguments), plain, rtol=1e-13, atol=0)
    places = tuple(range(len(arguments)))

    def slope(*values):
        return torch.func.grad(lambda *v: function(*v).sum(), argnums=places)(*values)

    torch.compiler.reset()
    compiled = torch.compile(slope, fullgraph=True, backend="aot_eager")(*arguments)
    torch.testing.assert_close(compiled, slope(*arguments), rtol=1e-12, atol=0)
    assert function(*(a.to("meta") for a in arguments)).device.type == "meta"


def assert_no_nan(function, points, dtype, fixed=0):
    """No NaN in values, gradients and second derivatives; the first `fixed` arguments have no derivative."""
    for point in points:
        arguments = [torch.tensor(float(p), dtype=dtype) for p in point]
        free = [a.requires_grad_() for a in arguments[fixed:]]
        results = [function(*arguments)]
        first = torch.autograd.grad(results[0], free, create_graph=True)
        for slope in first:
            results += [
                r for r in torch.autograd.grad(slope, free, retain_graph=True, allow_unused=True) if r is not None
            ]
        results += first
        assert not any(bool(r.isnan()) for r in results), (point, dtype, results)


def assert_nan_in_nan_out(function, *arguments):
    for place in range(len(arguments)):
        spoilt = [torch.full_like(a, math.nan) if i == place else a for i, a in enumerate(arguments)]
        assert bool(function(*spoilt).isnan().all()), place
