"""Tables that read well in a terminal and can be pasted into a README."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Estimate


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table under its title."""
    table = Table(*columns, box=box.MARKDOWN, header_style="")
    for row in rows:
        table.add_row(*row)
    print(f"\n### {title}")
    Console(width=200, markup=False, highlight=False).print(table)


def at_most(estimate: Estimate, limit: float | None) -> tuple[str, str]:
    """The two cells of an upper target: what it is, and whether the estimate meets it."""
    if limit is None:
        return "", ""
    return f"<= {limit:g}", "yes" if estimate.value <= limit else "NO"


def at_least(estimate: Estimate, limit: float | None) -> str:
    """Whether the estimate meets a lower target; its whole interval decides."""
    if limit is None:
        return ""
    return "yes" if estimate.low >= limit else "NO" if estimate.high < limit else "undecided"


def below_one(ratio: Estimate) -> str:
    """Whether a ratio is less than one; its whole interval decides, since a tie is no victory."""
    return "yes" if ratio.high < 1 else "NO" if ratio.low > 1 else "undecided"
