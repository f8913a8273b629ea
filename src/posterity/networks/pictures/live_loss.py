"""A loss while it falls: a progress line in a terminal, its curve in a notebook."""

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from posterity.networks.pictures.images import new_figure
from posterity.runtime import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECONDS_BETWEEN_DRAWINGS = 1.0


class LiveLoss:
    """The losses of a training, shown as they come: in a terminal a progress line, in a notebook the curve.

    The curve is redrawn about once a second, and never takes more than a tenth of the time. Elsewhere nothing is
    shown; the losses are kept in all cases. Losses stay where they are until they are shown or asked for, so an
    accelerator is not waited for in each step.

    Args:
        description: What is being done, in a word or two.
        total: The number of steps, where it is known.
        enabled: Whether to show anything.

    Raises:
        ValueError: `total` is not positive and finite.

    Example:
        >>> with LiveLoss("Training", total=3) as live:
        ...     for step in range(3):
        ...         live.update(torch.tensor(1.0 / (step + 1)))
        >>> live.losses
        tensor([1.0000, 0.5000, 0.3333])

        With `SVI`, a block of steps at a time: `live.update(svi.run(100, x).losses)`.
    """

    def __init__(self, description: str = "Training", *, total: float | None = None, enabled: bool = True) -> None:
        self.enabled = enabled
        self._notebook = _in_a_notebook()
        self._line = Progress(description, total=total, enabled=enabled and not self._notebook)
        self._blocks: list[Tensor] = []
        self._display: Any = None
        self._next_drawing = -math.inf

    @property
    def losses(self) -> Tensor:
        """`[steps]`, all losses so far, on the CPU."""
        self._blocks = [torch.cat([block.cpu() for block in self._blocks])] if self._blocks else []
        return self._blocks[0] if self._blocks else torch.zeros(0)

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def update(self, losses: Tensor | float) -> None:
        """Take the next loss, or the next ones.

        Args:
            losses: A number, a tensor of one element, or a vector of them, one for each step.

        Raises:
            ValueError: It is a tensor of more dimensions, or of none of its elements.
        """
        if not isinstance(losses, Tensor):
            losses = torch.tensor(float(losses))
        block = losses.detach().reshape(-1) if losses.numel() == 1 else losses.detach()
        if block.dim() != 1 or not len(block):
            raise ValueError(
                f"LiveLoss.update takes one loss, or a vector with one for each step, not {list(losses.shape)}"
            )
        # A loop may write its next loss into the same memory.
        self._blocks.append(block.clone())
        self._line.update(len(block), loss=block[-1])
        if self.enabled and self._notebook and time.monotonic() >= self._next_drawing:
            self._draw()

    def figure(self) -> "Figure":
        """The losses as a picture: each of them thin, their running mean over a fiftieth of the steps thick.

        The steep beginning may be cut off at the top; the picture then says how high it goes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        figure = new_figure(6, 3.2)
        draw_losses(figure.subplots(), self.losses)
        return figure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._line.__exit__(kind, error, traceback)
        if self.enabled and self._notebook and self._blocks and kind is None:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display  # type: ignore[import-not-found, unused-ignore]

        start = time.monotonic()
        if self._display is None:
            self._display = display(self.figure(), display_id=True)
        else:
            self._display.update(self.figure())
        now = time.monotonic()
        self._next_drawing = now + max(_SECONDS_BETWEEN_DRAWINGS, 9 * (now - start))


def draw_losses(axes: Any, losses: Tensor, each: str = "#9bb7d4", mean: str = "#0a6690") -> None:
    """Draw losses `[steps]` and their running mean into axes of matplotlib's, in two colours."""
    losses = losses.double()
    steps = torch.arange(1, len(losses) + 1)
    axes.plot(steps.tolist(), losses.tolist(), color=each, linewidth=0.7)
    window = max(1, len(losses) // 50)
    if window > 1:
        axes.plot(steps[window - 1 :].tolist(), losses.unfold(0, window, 1).mean(-1).tolist(), color=mean)
    axes.set(xlabel="step", ylabel="loss")
    settled = losses[len(losses) // 20 :]
    settled = settled[settled.isfinite()]
    if len(losses) < 100 or not len(settled):
        return
    low, high = float(settled.min()), float(settled.max())
    top = high + 0.05 * (high - low)
    if float(losses.nan_to_num(-math.inf).max()) > top > low:
        axes.set_ylim(low - 0.05 * (high - low), top)
        axes.text(0.98, 0.95, f"begins at {losses[0]:.4g}", transform=axes.transAxes, ha="right", va="top", fontsize=9)


def _in_a_notebook() -> bool:
    """Whether pictures can be shown and replaced: in a kernel of Jupyter's, not in a terminal's IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})
