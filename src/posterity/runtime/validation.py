"""The library's own validation switch.

`torch.distributions` has one too, but a single `torch.compile` call turns that one off for the whole process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_enabled = True
_suspended: ContextVar[bool] = ContextVar("posterity_validation_suspended", default=False)


def validation_enabled() -> bool:
    """Whether values (supports, NaN) are checked now: switched on, and not inside a graph being captured.

    Shapes, names and types are checked always; this switch is for checks that read a tensor's values.

    Example:
        >>> from posterity import runtime
        >>> runtime.validation_enabled()
        True
    """
    # Dynamo knows the first answer, and has then no need to trace the others.
    return not torch.compiler.is_compiling() and _enabled and not _suspended.get()


@contextmanager
def without_validation() -> Iterator[None]:
    """Inside, values go unchecked in this thread or task: for code that has been checked once, or is being captured.

    Example:
        >>> from posterity import runtime
        >>> with runtime.without_validation():
        ...     runtime.validation_enabled()
        False
    """
    token = _suspended.set(True)
    try:
        yield
    finally:
        _suspended.reset(token)


def set_validation(enabled: bool) -> bool:
    """Switch checks of values on or off for the process, and return what the switch was before.

    Example:
        >>> from posterity import runtime
        >>> before = runtime.set_validation(False)
        >>> runtime.validation_enabled()
        False
        >>> runtime.set_validation(before)
        False
    """
    global _enabled
    before, _enabled = _enabled, enabled
    return before
