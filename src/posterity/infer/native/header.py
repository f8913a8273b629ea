"""When Inductor precompiles the header of its kernels: not for the first graph that is compiled on a machine.

Precompiling takes as long as several kernels, and then saves each of them a second or two.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def header_if_it_pays() -> Iterator[None]:
    """Use the header, while the block compiles, if the disk has it or if this process compiles more than one graph."""
    from torch._inductor import config
    from torch._inductor.codecache import PyCodeCache

    own, load = PyCodeCache.__dict__["load_by_key_path"], PyCodeCache.load_by_key_path

    # Not before: what Inductor finds graphs on disk by has its options in it.
    def loaded(*args: Any, **kwargs: Any) -> Any:
        with config.patch(cpp_cache_precompile_headers=config.cpp_cache_precompile_headers and _pays()):
            return load(*args, **kwargs)

    try:
        setattr(PyCodeCache, "load_by_key_path", staticmethod(loaded))  # noqa: B010  # the checker forbids it otherwise
        yield
    finally:
        setattr(PyCodeCache, "load_by_key_path", own)  # noqa: B010


def _pays() -> bool:
    from torch._dynamo.utils import counters
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    has_header = any(Path(default_cache_dir(), "precompiled_headers").glob("*.gch"))
    return has_header or counters["inductor"]["fxgraph_cache_miss"] > 1
