import math

import mpmath as mp
import pytest
import torch

from posterity.kernels import gammaincc, gammainccinv, gammaincinv
from tests.kernels.gamma_reference import tails
from tests.kernels.test_incomplete_gamma import CONCENTRATIONS, TOLERANCE

LEVELS = [1e-290, 1e-100, 1e-37, 1e-10, 1e-3, 0.1, 0.37, 0.5, 0.65, 0.9, 0.999]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("inverse", "side"), [(gammaincinv, 0), (gammainccinv, 1)])
def test_quantiles_are_relatively_accurate(inverse, side, dtype):
    """To the stated tolerance, or four roundings of the given probability, times the condition number."""
    a = torch.tensor(CONCENTRATIONS, dtype=dtype)[:, None].expand(-1, len(LEVELS)).reshape(-1)
    p = torch.tensor(LEVELS, dtype=dtype).repeat(len(CONCENTRATIONS))
    x = inverse(a, p)
    checked = 0
    for b, level, value in zip(a.tolist(), p.tolist(), x.tolist(), strict=True):
        if level == 0 or value < torch.finfo(dtype).tiny:
            continue
        exact = tails(b, value)
        slope = mp.exp(exact[2]) * value
        condition = level / slope
        error = abs((exact[side] - level) / slope)
        assert error <= max(TOLERANCE[dtype], 4 * torch.finfo(dtype).eps * condition), (b, level, value)
        checked += 1
    assert checked > 80


A = torch.tensor([0.05, 0.7, 0.7, 2.5, 8.0, 40.0], dtype=torch.float64, requires_grad=True)
P = torch.tensor([0.8, 0.3, 0.95, 0.01, 0.6, 0.999], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("inverse", [gammaincinv, gammainccinv])
def test_first_and_second_order_in_both_modes(inverse):
    assert torch.autograd.gradcheck(inverse, (A, P), check_forward_ad=True, rtol=1e-5)
    assert torch.autograd.gradgradcheck(inverse, (A, P), rtol=1e-4)


def test_inverse_undoes_the_function_in_the_far_upper_tail():
    a = torch.logspace(-3, 6, 40, dtype=torch.float64)
    q = torch.full_like(a, 1e-280)
    torch.testing.assert_close(gammaincc(a, gammainccinv(a, q)), q, rtol=1e-9, atol=0)


def test_limits_and_arguments_outside():
    inf, nan = math.inf, math.nan
    a = torch.tensor([0.5, 2.0, 2.0, 0.0, inf, 2.0, 2.0, -1.0, nan, 2.0])
    p = torch.tensor([0.0, 0.0, 1.0, 0.3, 0.3, -0.1, 1.1, 0.5, 0.5, nan])
    x = torch.tensor([0.0, 0, inf, 0, inf, nan, nan, nan, nan, nan])
    torch.testing.assert_close(gammaincinv(a, p), x, equal_nan=True)
    torch.testing.assert_close(gammainccinv(a, 1 - p), x, equal_nan=True)
    leaves = torch.tensor([0.5, 1.0, 2.0, 1e-4]).requires_grad_(), torch.tensor([0.0, 0, 0, 0.5]).requires_grad_()
    by_a, by_p = torch.autograd.grad(gammaincinv(*leaves).sum(), leaves)
    assert by_a.tolist() == [0, 0, 0, 0]
    assert by_p.tolist() == [0, 1, inf, 0]


def test_compiled_in_one_graph():
    torch.compiler.reset()
    a, p = A.detach(), P.detach()
    compiled = torch.compile(gammaincinv, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a, p), gammaincinv(a, p), rtol=1e-12, atol=0)


def test_vmap_and_meta():
    torch.testing.assert_close(torch.vmap(lambda a: gammaincinv(a, P))(A), gammaincinv(A[:, None], P))
    assert gammaincinv(A.detach().to("meta"), P.detach().to("meta")).shape == A.shape
