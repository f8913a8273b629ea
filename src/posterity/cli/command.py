"""The command line: its arguments, its exit codes and its one-line errors.

Nothing heavy is imported before the arguments are known to be a command's.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from posterity._version import __version__

_DONE, _FAILED, _MISUSED, _INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `posterity` command.

    Args:
        argv: The arguments, without the program's name. Default: those that the process was called with.

    Returns:
        The exit code: 0 when all went well, 1 when the work failed, 2 for wrong arguments, 130 after Ctrl-C.

    Example:
        >>> main(["--version"])
        posterity ...
        0
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        # A second Ctrl-C must not cut the answer to the first one short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("Interrupted.", file=sys.stderr)
        # CPython remembers an interrupt inside an `exec` of text (imports do that) as unhandled, and would
        # end the process by the signal in spite of the exit code; the next `exec` of text makes it forget.
        exec("")
        return _INTERRUPTED
    finally:
        if before is not None and signal.getsignal(signal.SIGINT) != before:
            signal.signal(signal.SIGINT, before)


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # argparse ends the process for --help, --version and wrong arguments
        return _MISUSED if end.code else _DONE
    from posterity.cli import demo

    missing = demo.missing_packages()
    if missing:
        return _complain(_FAILED, f"the demo needs {' and '.join(missing)}: pip install 'posterity[demo]'")
    try:
        demo.run(arguments)
    except demo.UsageError as error:
        return _complain(_MISUSED, str(error))
    except OSError as error:
        return _complain(_FAILED, str(error))
    return _DONE


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Complain in one line; argparse would print the usage above it."""
        self.exit(_MISUSED, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="posterity", description="Models that say what they don't know.")
    parser.add_argument("--version", action="version", version=f"posterity {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    demo = commands.add_parser(
        "demo",
        help="train a network on real data and report what it knows",
        description="digits: train a small network on handwritten digits, make it Bayesian with one call, and "
        "show what it says about digits that it has never seen. vae: train an autoencoder to write digits "
        "of each class, and let a network that only saw real ones read them.",
    )
    demo.add_argument(
        "name", nargs="?", choices=["digits", "vae"], default="digits", help="which demo (default: digits)"
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("posterity-demo"),
        metavar="DIR",
        help="where the files go: report.html and metrics.json, or vae.html and vae.json (default: posterity-demo)",
    )
    demo.add_argument("--seed", type=int, default=0, help="what all chance follows from (default: 0)")
    demo.add_argument("--no-progress", action="store_true", help="show no live line")
    digits = demo.add_argument_group("of the demo digits")
    digits.add_argument(
        "--held-out",
        type=int,
        nargs="+",
        metavar="DIGIT",
        help="the digits never shown in training (default: 8 9)",
    )
    vae = demo.add_argument_group("of the demo vae")
    vae.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="a folder with MNIST's own files, gzipped or not (default: scikit-learn's bundled digits)",
    )
    vae.add_argument("--epochs", type=int, help="how often to go through the training images (default: 80; MNIST: 10)")
    return parser


def _complain(code: int, message: str) -> int:
    print(f"posterity demo: error: {message}", file=sys.stderr)
    return code
