"""Writes docs/distributions.md: which statistic each distribution has, and how. Run: python -m docs.make_tables."""

from pathlib import Path

from tests.distributions.catalogue import MULTIVARIATE, SCALAR
from tests.distributions.catalogue.entry import ask

from posterity.distributions import Distribution

PAGE = Path(__file__).with_name("distributions.md")
STATISTICS = ("log_prob", "cdf", "icdf", "mean", "variance", "mode", "median", "entropy", "fit")
HEAD = """# Distributions

Written by `python -m docs.make_tables` from the code. *closed*: a formula, or a special function. *sum*, *integral*:
over the support, to about 1e-9 in float64. *search*: for a root or a maximum of what the other columns say.

"""


def page() -> str:
    """The page as it should be."""
    lines = ["| distribution | " + " | ".join(f"`{name}`" for name in STATISTICS) + " | draws |"]
    lines.append("|---" * (len(STATISTICS) + 2) + "|")
    notes: dict[str, int] = {}
    # Composites are tested as families that only the catalogue knows.
    entries = [e for e in (*SCALAR, *MULTIVARIATE) if e.family.__module__.startswith("posterity.")]
    for entry in sorted(entries, key=lambda e: e.family.__name__):
        d = entry.make(0)
        cells = [_cell(d, name, notes) for name in STATISTICS]
        draws = "reparameterised" if d.has_rsample else "plain"
        lines.append(f"| {entry.family.__name__} | " + " | ".join(cells) + f" | {draws} |")
    reasons = "".join(f"\n[{number}] {reason}\n" for reason, number in notes.items())
    return HEAD + "\n".join(lines) + "\n" + reasons


def _cell(d: Distribution, statistic: str, notes: dict[str, int]) -> str:
    if statistic == "fit":
        inherited = type(d).fit.__func__ is Distribution.fit.__func__  # type: ignore[attr-defined]
        closed = not inherited
    else:
        closed = d._has_closed_form(statistic)
    try:
        ask(d, statistic) if statistic != "log_prob" else None
    except NotImplementedError as refusal:
        return f"no [{notes.setdefault(str(refusal), len(notes) + 1)}]"
    except (ValueError, ArithmeticError):
        pass  # it exists, but not at the value asked for
    if closed or (statistic == "median" and d._has_closed_form("icdf")):
        return "closed"
    if statistic in ("icdf", "median", "mode", "fit"):
        return "search"
    return "sum" if d._is_discrete() else "integral"


if __name__ == "__main__":
    PAGE.write_text(page())
