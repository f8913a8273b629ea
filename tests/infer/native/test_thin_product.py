"""Products with a wide matrix by native code: what exact arithmetic gives, up to rounding."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from posterity.infer.capture import can_compile
from posterity.infer.native import thin_product
from posterity.kernels import Key, normal

pytestmark = pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")

multiply = torch.ops.posterity.thin_product


def matrices(rows: int, inner: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A thin and a wide matrix."""
    thin = normal((rows, inner), source=Key(0), dtype=torch.float64).to(dtype)
    return thin, normal((inner, columns), source=Key(1), dtype=torch.float64).to(dtype)


def assert_product(found: Tensor, thin: Tensor, wide: Tensor) -> None:
    """An element's error is at most its number of terms times the rounding of the sum of their sizes (Higham, 3.1)."""
    exact = thin.double() @ wide.double()
    bound = thin.shape[1] * torch.finfo(thin.dtype).eps * (thin.double().abs() @ wide.double().abs())
    assert found.dtype == thin.dtype
    assert found.is_contiguous()
    assert ((found.double() - exact).abs() <= bound).all()


# Around the sizes of registers, of tiles, and of the pieces that are worked on together.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 7, 16, 1023, 1024, 1025])
@pytest.mark.parametrize("inner", [1, 3, 4, 9])
def test_both_products_are_exact_up_to_rounding(dtype: torch.dtype, columns: int, inner: int) -> None:
    for rows in (1, 2, 3, 4, 5, 8):
        thin, wide = matrices(rows, inner, columns, dtype)
        assert_product(multiply(thin, wide), thin, wide)
        residual, _ = matrices(rows, columns, 1, dtype)
        assert_product(multiply(residual, wide.t()), residual, wide.t())


def test_columns_in_parts() -> None:
    thin, wide = matrices(3, 5, 70_001, torch.float64)
    residual = multiply(thin, wide)
    assert_product(residual, thin, wide)
    assert_product(multiply(residual, wide.t()), residual, wide.t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_that_are_parts_of_others(dtype: torch.dtype) -> None:
    thin, wide = matrices(3, 6, 700, dtype)
    framed = torch.full((8, 900), torch.nan, dtype=dtype)
    framed[1:7, 100:800] = wide
    wide = framed[1:7, 100:800]
    turned = thin.t().contiguous().t()
    slices = torch.full((3, 13), torch.nan, dtype=dtype)
    slices[:, 1::2] = thin
    residual = multiply(thin, wide)
    for own in (thin, turned, slices[:, 1::2]):
        assert torch.equal(multiply(own, wide), residual)
    for own in (residual, residual.t().contiguous().t()):
        assert_product(multiply(own, wide.t()), residual, wide.t())


def test_what_is_not_finite_stays_in_its_row() -> None:
    thin, wide = matrices(4, 5, 600, torch.float64)
    expected = multiply(thin, wide)
    thin[1, 2] = torch.nan
    thin[2, 0] = torch.inf
    found = multiply(thin, wide)
    assert found[1].isnan().all()
    assert found[2].isinf().all()
    assert torch.equal(found[[0, 3]], expected[[0, 3]])


def test_the_number_of_threads_changes_nothing() -> None:
    residual, wide = matrices(4, 50_000, 1, torch.float64)[0], matrices(1, 20, 50_000, torch.float64)[1]
    before = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(multiply(residual, wide.t()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(own, found[0]) for own in found)


def test_several_threads_may_call_it_at_once() -> None:
    thin, wide = matrices(4, 20, 5000, torch.float64)
    expected = multiply(thin, wide)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(own, expected) for own in pool.map(lambda _: multiply(thin, wide), range(20)))


def test_without_values_it_has_a_shape() -> None:
    thin, wide = (matrix.to("meta") for matrix in matrices(4, 20, 5000, torch.float32))
    found = multiply(thin, wide)
    assert (found.shape, found.dtype, found.device.type) == ((4, 5000), torch.float32, "meta")
    assert thin_product.is_available()
