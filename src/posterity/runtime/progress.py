"""A live line over long work: what is being done, how far it is, and the figures that matter.

`rich` draws it and is imported when a line is first shown, so that importing Posterity stays cheap.
"""

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    import rich.progress

_SECONDS_BETWEEN_DRAWINGS = 0.1


class Progress:
    """A progress line on the error stream, for use in a `with` block.

    It shows nothing when `enabled` is false, when the error stream is not a terminal, and inside another line
    (the outermost one speaks). A silent line costs a fraction of a microsecond per update. When the block
    ends, the finished line stays; when it ends by an error or Ctrl-C, the line is wiped.

    Args:
        description: What is being done, in a word or two.
        total: The number of steps, at least 1; `None` where it isn't known (no remaining time is shown then).
        enabled: Whether to show anything. Drivers hand their `progress=` argument on to it.

    Raises:
        ValueError: If `total` is not positive and finite.

    Example:
        >>> from posterity.runtime import Progress
        >>> with Progress("Training", total=3) as progress:
        ...     for step in range(3):
        ...         progress.update(loss=1.0 / (step + 1))
    """

    _a_line_is_shown: ClassVar[bool] = False

    def __init__(self, description: str, *, total: float | None = None, enabled: bool = True) -> None:
        if total is not None and not (math.isfinite(total) and total > 0):
            raise ValueError(f"total must be a positive number of steps, or None if unknown; got {total}")
        self.description = description
        self.total = total
        self.enabled = enabled
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._waiting = 0.0
        self._drawn_at = -math.inf
        self._values: dict[str, object] = {}

    def __enter__(self) -> Self:
        if self.enabled and sys.stderr.isatty() and not Progress._a_line_is_shown:
            bar = _new_bar()
            Progress._a_line_is_shown = True
            try:
                bar.start()
                self._task = bar.add_task(self.description, total=self.total, values="")
            except BaseException:
                _close(bar, keep_line=False)
                raise
            self._bar = bar
        return self

    def update(self, advance: float = 1, **values: object) -> None:
        """Move on by `advance` steps and show `values`, each behind its name.

        Values may be numbers, text or tensors of one element. The line is drawn about ten times a second;
        what is passed between two drawings is only remembered, so that an accelerator is rarely waited for.

        Args:
            advance: The number of steps done since the last call.
            **values: What to show, for example `loss=loss.detach()`.
        """
        if self._bar is None:
            return
        self._waiting += advance
        self._values = values
        now = time.monotonic()
        if now - self._drawn_at >= _SECONDS_BETWEEN_DRAWINGS:
            self._drawn_at = now
            self._hand_on(self._bar)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        bar, self._bar = self._bar, None
        if bar is None:
            return
        finished = False
        try:
            if kind is None:
                self._hand_on(bar)
                finished = True
        finally:
            _close(bar, keep_line=finished)

    def _hand_on(self, bar: "rich.progress.Progress") -> None:
        assert self._task is not None
        bar.update(self._task, advance=self._waiting, values=_as_text(self._values))
        self._waiting = 0.0


def _new_bar() -> "rich.progress.Progress":
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.fields[values]}", markup=False, style="cyan"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        # rich sends redirected output to the bar's own stream: output that goes to a file must stay there.
        redirect_stdout=sys.stdout.isatty(),
    )


def _close(bar: "rich.progress.Progress", *, keep_line: bool) -> None:
    Progress._a_line_is_shown = False
    bar.live.transient = not keep_line
    bar.stop()


def _as_text(values: dict[str, object]) -> str:
    return "  ".join(f"{name} {_value_as_text(value)}" for name, value in values.items())


def _value_as_text(value: object) -> str:
    if isinstance(value, str | int):
        return str(value)
    if hasattr(value, "__float__"):
        return f"{float(value):.4g}"
    return str(value)
