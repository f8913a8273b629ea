"""Floor 10: the `posterity` command."""

from posterity.cli.command import main

__all__ = ["main"]
