"""Statistics as text: aligned columns, with as many digits as mean something."""

import io
import math
from collections.abc import Iterable
from itertools import islice

Row = tuple[str, dict[str, float]]


def render(rows: Iterable[Row], number: int, max_rows: int | None) -> str:
    """A table of rows with the same columns.

    Args:
        rows: Each with its label, and numbers by column; the digits shown follow from the row's `sd`.
        number: How many rows there are.
        max_rows: How many to show, None for all; a line under them says how many are left out.

    Example:
        >>> print(render([("mu", {"mean": 1.23456, "sd": 0.5, "ess_bulk": 812.3, "r_hat": 1.0})], 1, None))
             mean     sd  ess_bulk  r_hat
        mu  1.235  0.500       812  1.000
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = list(islice(rows, max_rows))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column("", no_wrap=True)
    for column in shown[0][1] if shown else ():
        table.add_column(column, justify="right", no_wrap=True)
    for label, numbers in shown:
        table.add_row(escape(label), *(_text(column, numbers[column], numbers) for column in numbers))
    page = io.StringIO()
    # As wide as the table asks for: a terminal may wrap it, a file has no width.
    Console(file=page, width=100_000, color_system=None, force_terminal=False, force_jupyter=False).print(table)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    if len(shown) < number:
        lines.append(f"... and {number - len(shown)} more rows: table(max_rows=None) shows all, to_dict() holds all")
    return "\n".join(lines)


def _text(column: str, number: float, row: dict[str, float]) -> str:
    if not math.isfinite(number):
        return str(number)
    if column.startswith("ess"):
        return f"{number:.0f}"
    if column == "r_hat":
        return f"{number:.3f}" if number < 1000 else f"{number:.2g}"
    if column.startswith("mcse"):
        return f"{number:.2g}" if number < 100 else f"{number:.0f}" if number < 1e6 else f"{number:.1e}"
    return _with_digits(number, row.get("sd", math.nan))


def _with_digits(number: float, sd: float) -> str:
    """Three digits of the standard deviation, at least, and as many decimals for all that has its units."""
    scale = sd if math.isfinite(sd) and sd > 0 else abs(number)
    if scale == 0:
        return f"{number:z.3f}"
    decimals = max(0, 2 - math.floor(math.log10(scale)))
    return f"{number:z.{decimals}f}" if decimals <= 7 and abs(number) < 1e7 else f"{number:.3e}"
