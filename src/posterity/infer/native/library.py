"""The C++ sources that lie beside this file."""

import ctypes

from posterity.kernels.native import library as native


def library(name: str) -> ctypes.CDLL:
    """A C++ source of this folder as a library; see `posterity.kernels.native.library`.

    Args:
        name: The source's name without `.cpp`.

    Raises:
        RuntimeError: There is no compiler, or it does not take the source.

    Example:
        >>> from posterity.infer.capture import can_compile
        >>> if can_compile():
        ...     assert library("replay").replay
    """
    return native.library("posterity.infer.native", name)
