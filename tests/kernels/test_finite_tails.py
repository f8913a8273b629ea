"""Tails of moderate counts by finite sums, against many digits and against the functions of real arguments."""

import mpmath
import pytest
import torch

from posterity.kernels import betainc, betaincc, gammainc, gammaincc
from posterity.kernels.finite_tails import finite_betainc, finite_betaincc, finite_gammainc, finite_gammaincc

DTYPES = [torch.float32, torch.float64]


def tolerance(dtype):
    # A mass of 2^-53 k log k, and a sum of up to a hundred terms, each with a few roundings.
    return 2e-7 if dtype == torch.float32 else 4e-13


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gamma_functions_of_whole_numbers(dtype):
    a, x = (t.reshape(-1) for t in torch.meshgrid(
        torch.tensor([1.0, 2.0, 13.0, 60.0, 200.0]), torch.tensor([1e-3, 0.5, 3.0, 12.5, 59.0, 199.0]), indexing="ij"
    ))  # fmt: skip
    a, x = a.to(dtype), x.to(dtype)
    with mpmath.workdps(60):
        pairs = list(zip(a.tolist(), x.tolist(), strict=True))
        lower = [mpmath.gammainc(a, 0, x, regularized=True) for a, x in pairs]
        upper = [mpmath.gammainc(a, x, regularized=True) for a, x in pairs]
        exact, complement = (torch.tensor([float(p) for p in tail], dtype=torch.float64) for tail in (lower, upper))
    kept = a.clone(), x.clone()
    # What a float32 cannot hold is rounded in its own steps.
    tiny = torch.finfo(dtype).tiny
    torch.testing.assert_close(finite_gammainc(a, x).double(), exact, rtol=tolerance(dtype), atol=tiny)
    torch.testing.assert_close(finite_gammaincc(a, x).double(), complement, rtol=tolerance(dtype), atol=tiny)
    assert torch.equal(a, kept[0])
    assert torch.equal(x, kept[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_beta_functions_of_whole_numbers(dtype):
    a, b, x = (t.reshape(-1).to(dtype) for t in torch.meshgrid(
        torch.tensor([1.0, 7.0, 150.0]), torch.tensor([1.0, 9.0, 180.0]), torch.tensor([1e-4, 0.3, 0.5, 0.95]),
        indexing="ij",
    ))  # fmt: skip
    y = 1 - x
    with mpmath.workdps(80):

        def tail(a, b, x, y):
            # The smaller of the two probabilities is the exact one.
            p = mpmath.mpf(x) if x < y else 1 - mpmath.mpf(y)
            n = int(a + b - 1)
            masses = [mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
            return float(mpmath.fsum(masses[int(a) :])), float(mpmath.fsum(masses[: int(a)]))

        rows = [tail(*case) for case in zip(a.tolist(), b.tolist(), x.tolist(), y.tolist(), strict=True)]
    exact, complement = torch.tensor(rows, dtype=torch.float64).unbind(1)
    tiny = torch.finfo(dtype).tiny
    torch.testing.assert_close(finite_betainc(a, b, x, y).double(), exact, rtol=tolerance(dtype), atol=tiny)
    torch.testing.assert_close(finite_betaincc(a, b, x, y).double(), complement, rtol=tolerance(dtype), atol=tiny)


def test_other_arguments_go_to_the_functions_of_real_numbers():
    a, b, x = torch.tensor([1.5, 300.0]), torch.tensor([2.0, 0.5]), torch.tensor([0.25, 0.5])
    assert torch.equal(finite_gammainc(a, x), gammainc(a.double(), x.double()).float())
    assert torch.equal(finite_gammaincc(a, x), gammaincc(a.double(), x.double()).float())
    assert torch.equal(finite_betainc(a, b, x, 1 - x), betainc(a, b, x, 1 - x))
    assert torch.equal(finite_betaincc(a, b, x, 1 - x), betaincc(a, b, x, 1 - x))


def test_gradients_are_those_of_the_functions_of_real_numbers():
    a, b = torch.tensor([3.0, 8.0], dtype=torch.float64), torch.tensor([2.0, 5.0], dtype=torch.float64)
    x = torch.tensor([0.25, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: finite_gammaincc(a, x), x)
    assert torch.autograd.gradcheck(lambda x: finite_betaincc(a, b, x, 1 - x), x)


def test_blocks_of_many_elements_are_the_elements():
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(1, 60, (150_000,), generator=generator).float()
    x = 50 * torch.rand(150_000, generator=generator) + 0.1
    some = torch.tensor([0, 70_000, 149_999])
    torch.testing.assert_close(finite_gammaincc(a, x)[some], finite_gammaincc(a[some], x[some]), rtol=3e-7, atol=0)
