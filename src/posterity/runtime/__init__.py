"""Floor 0: what every floor leans on that is not mathematics: validation, progress."""

from posterity.runtime.eval_mode import eval_mode
from posterity.runtime.progress import Progress
from posterity.runtime.validation import set_validation, validation_enabled, without_validation

__all__ = ["Progress", "eval_mode", "set_validation", "validation_enabled", "without_validation"]
