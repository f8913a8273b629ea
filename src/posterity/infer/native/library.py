"""Build the C++ sources that lie beside this file, by the compiler that Inductor uses for its own kernels."""

import ctypes
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TypeVar, cast

_Result = TypeVar("_Result")


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
    return cast(ctypes.CDLL, without_trials(lambda: CppCodeCache.load(source)))


def without_trials(build: Callable[[], _Result]) -> _Result:
    """Build something by Inductor without its trials of vector instructions, which take seconds in each process.

    What the processor has is looked up all the same; the trials find compilers that are too old for it. Where the
    building fails it is done again, with them.
    """
    from torch._inductor import config, cpu_vec_isa
    from torch._inductor.exc import CppCompileError

    try:
        with config.patch({"cpp.vec_isa_ok": True}):
            return build()
    except CppCompileError:
        cpu_vec_isa.valid_vec_isa_list.cache_clear()
        return build()
