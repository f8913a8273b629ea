"""Build the C++ sources that lie beside this file, by the compiler that Inductor uses for its own kernels."""

import ctypes
from functools import cache
from importlib import resources
from typing import cast


@cache
def library(name: str) -> ctypes.CDLL:
    """A C++ source of this folder as a library; its functions are C functions.

    The library is kept on disk by what is in the source: the next process loads it at once. Calls let other Python
    threads run.

    Args:
        name: The source's name without `.cpp`.

    Raises:
        RuntimeError: There is no compiler, or it does not take the source.

    Example:
        >>> from posterity.infer.capture import can_compile
        >>> if can_compile():
        ...     assert library("replay").replay
    """
    from torch._inductor.codecache import CppCodeCache

    source = resources.files(__package__).joinpath(f"{name}.cpp").read_text(encoding="utf-8")
    return cast(ctypes.CDLL, CppCodeCache.load(source))
