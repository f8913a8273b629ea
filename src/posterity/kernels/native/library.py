"""Build C++ sources that lie in a package, by the compiler that Inductor uses for its own kernels."""

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import TypeVar, cast

_Result = TypeVar("_Result")

# Looking up what the processor has changes torch's own records for a while: one thread at a time.
_LOOKING_UP = threading.Lock()


@cache
def library(package: str, name: str, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """A C++ source of a package as a library; its functions are C functions.

    The library is kept on disk by what is in the source: the next process loads it at once. Calls let other Python
    threads run.

    Args:
        package: The package in whose folder the source lies.
        name: The source's name without `.cpp`.
        flags: Options of the compiler, after Inductor's own; a tuple.

    Raises:
        RuntimeError: There is no compiler, or it does not take the source.

    Example:
        >>> from posterity.kernels.normal_weights import is_available
        >>> if is_available():
        ...     assert library("posterity.kernels.native", "normal_weights").fill_normal
    """
    from torch._inductor.codecache import CppCodeCache

    source = resources.files(package).joinpath(f"{name}.cpp").read_text(encoding="utf-8")
    return cast(ctypes.CDLL, without_trials(lambda: CppCodeCache.load(source, extra_flags=tuple(flags))))


def without_trials(build: Callable[[], _Result]) -> _Result:
    """Build something by Inductor without its trials of vector instructions, which take seconds in each process.

    What the processor has is looked up all the same; the trials find compilers that are too old for it. Where the
    building fails it is done again, with them.
    """
    from torch._inductor import config, cpu_vec_isa
    from torch._inductor.exc import CppCompileError

    try:
        with config.patch({"cpp.vec_isa_ok": True}):
            with _LOOKING_UP:
                cpu_vec_isa.pick_vec_isa()
            return build()
    except CppCompileError:
        cpu_vec_isa.valid_vec_isa_list.cache_clear()
        return build()
