"""The library's own validation switch.

`torch.distributions` has one too, but a single `torch.compile` call turns that one off for the whole process.
"""

import torch

_enabled = True


def validation_enabled() -> bool:
    """Whether values (supports, NaN) are checked now: switched on, and not inside a graph being captured.

    Shapes, names and types are checked always; this switch is for checks that read a tensor's values.

    Example:
        >>> from posterity import runtime
        >>> runtime.validation_enabled()
        True
    """
    return _enabled and not torch.compiler.is_compiling()


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
