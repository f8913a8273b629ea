"""A demo whose arguments are checked and whose work can begin."""

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple


class Demo(NamedTuple):
    """A demo that is ready to run.

    Attributes:
        files: The names of its files: the report, then the figures.
        work: Does it, and returns the files' texts in their order, and what prints the table.
    """

    files: tuple[str, str]
    work: Callable[[], tuple[str, str, Callable[[], None]]]


def refuse(arguments: argparse.Namespace, names: tuple[str, ...], owner: str) -> None:
    """Raise a `ValueError` if an option of another demo is given."""
    for name in names:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is an option of the demo {owner}, not of {arguments.name}")


def as_json(metrics: NamedTuple) -> str:
    """The figures as a file's text."""
    return json.dumps(metrics._asdict(), indent=2, allow_nan=False) + "\n"
