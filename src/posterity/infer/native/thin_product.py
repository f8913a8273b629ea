"""The product of a thin matrix with a wide one as an operator that graphs may hold: `thin_product.cpp`.

Several times as fast as BLAS where the thin one has a few rows; as far from the exact product as BLAS is.
"""

import ctypes
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from posterity.infer.native.library import library

# Later on BLAS is as fast.
MOST_ROWS = 8

_OPERATORS = torch.library.Library("posterity", "FRAGMENT")
_OPERATORS.define("thin_product(Tensor thin, Tensor wide) -> Tensor")

OPERATOR = torch.ops.posterity.thin_product.default


class NativeCall:
    """A call of the native function.

    Args:
        thin: `[rows, inner]` with at most a few rows, on the CPU, of real numbers.
        wide: `[inner, columns]` of the same type, whose rows or whose columns each lie together in memory.
        out: `[rows, columns]`, contiguous: what the product is written to.

    Attributes:
        function: The function's address.
        arguments: Its arguments, which hold for the memory that the tensors have now, as long as this object lives.
    """

    def __init__(self, thin: Tensor, wide: Tensor, out: Tensor) -> None:
        sums = wide.stride(1) != 1 or (wide.stride(0) == 1 and wide.shape[0] > wide.shape[1])
        inner, columns = reversed(wide.shape) if sums else wide.shape
        strides = *thin.stride(), wide.stride(1) if sums else wide.stride(0)
        self._shape = _Shape(thin.shape[0], inner, columns, sums, thin.dtype == torch.float64, *strides)
        self.function = _function()[1]
        self.arguments = (thin.data_ptr(), wide.data_ptr(), out.data_ptr(), ctypes.addressof(self._shape))


def is_available() -> bool:
    """Whether the native function can be built."""
    try:
        _function()
    except (RuntimeError, OSError):
        return False
    return True


@torch.library.impl(_OPERATORS, "thin_product", "CPU")
def _on_processor(thin: Tensor, wide: Tensor) -> Tensor:
    out = thin.new_empty(thin.shape[0], wide.shape[1])
    call = NativeCall(thin, wide, out)
    _function()[0](*call.arguments)
    return out


@torch.library.register_fake("posterity::thin_product", lib=_OPERATORS)  # type: ignore[untyped-decorator]
def _like(thin: Tensor, wide: Tensor) -> Tensor:
    return thin.new_empty(thin.shape[0], wide.shape[1])


class _Shape(ctypes.Structure):
    """`Shape` of `thin_product.cpp`."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("rows", "inner", "columns", "sums", "is_double"),
            *("thin_row_stride", "thin_column_stride", "wide_row_stride"),
        )
    )


@cache
def _function() -> tuple[Callable[..., None], int]:
    """The native function, and its address."""
    function = library("thin_product").thin_product
    function.argtypes, function.restype = [ctypes.c_void_p] * 4, None
    return function, ctypes.cast(function, ctypes.c_void_p).value or 0
