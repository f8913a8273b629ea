"""Native sources that are built in the background, while Python traces and Inductor plans."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

from posterity.infer.capture import can_compile
from posterity.infer.native.library import library


@cache
def build_ahead(name: str) -> None:
    """Begin to build a source of this folder.

    `library` waits for what is left of the work, and finds the error if there is one.

    Args:
        name: The source's name without `.cpp`.

    Example:
        >>> build_ahead("replay")
    """
    if can_compile():
        # Python's imports are not for several threads at once.
        from torch._inductor import codecache  # noqa: F401
        from torch.utils import _filelock  # noqa: F401

        _builders().submit(library, name)


@cache
def _builders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="posterity-build")
