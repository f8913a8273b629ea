"""`posterity demo`: run an experiment, show its figures as a table and its pictures as a report."""

import argparse
import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from posterity.cli.digits import DigitsMetrics, DigitsResult, check_arguments, run_digits
from posterity.cli.output import output_directory, write_together
from posterity.cli.prepared import Demo, as_json, refuse
from posterity.cli.vae_demo import prepare_vae
from posterity.toolbox import Answers, Comparison, render_report

REPORT, METRICS = "report.html", "metrics.json"


class UsageError(Exception):
    """The arguments are not what a run can start with; the message is one line for the terminal."""


def missing_packages() -> list[str]:
    """The packages that the demo needs and that aren't installed."""
    needed = {"sklearn": "scikit-learn", "jinja2": "jinja2", "matplotlib": "matplotlib"}
    return [package for module, package in needed.items() if importlib.util.find_spec(module) is None]


def run(arguments: argparse.Namespace) -> None:
    """Run a demo, leave its two files in `arguments.out` at the very end, and print the table.

    Args:
        arguments: `name`, `out`, `seed`, `no_progress`, `held_out`, `data` and `epochs`, as the command line has them.

    Raises:
        UsageError: If an argument is out of range or `out` can't be written to; nothing has been done then.
        OSError: If the files can't be written in the end.
    """
    out: Path = arguments.out
    with contextlib.ExitStack() as stack:
        try:
            demo = (prepare_vae if arguments.name == "vae" else _prepare_digits)(arguments)
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error
        try:
            stack.enter_context(output_directory(out, demo.files))
        except OSError as error:
            raise UsageError(f"--out: can't write to {out}: {error.strerror}") from error
        report, figures, show = demo.work()
        write_together(out, dict(zip(demo.files, (report, figures), strict=True)))
    show()
    print(f"Report:  {out / demo.files[0]}\nFigures: {out / demo.files[1]}")


def _prepare_digits(arguments: argparse.Namespace) -> Demo:
    refuse(arguments, ("data", "epochs"), "vae")
    held_out = [8, 9] if arguments.held_out is None else arguments.held_out
    check_arguments(held_out, arguments.seed)

    def work() -> tuple[str, str, Callable[[], None]]:
        result = run_digits(held_out, arguments.seed, progress=not arguments.no_progress)
        rows = compare(result.metrics)
        return report(result, rows), as_json(result.metrics), lambda: show_table(rows, result.metrics.seconds)

    return Demo((REPORT, METRICS), work)


def compare(metrics: DigitsMetrics) -> list[Comparison]:
    """The headline figures of both networks, each with the target that the Bayesian one has."""
    nll_limit = 1.5 * metrics.nll_deterministic
    return [
        Comparison(
            "Accuracy",
            "How many of the known digits are named right.",
            metrics.accuracy,
            metrics.accuracy_deterministic,
            True,
            "at least 0.97",
            metrics.accuracy >= 0.97,
        ),
        Comparison(
            "Calibration error (ECE)",
            "How far stated confidence lies from how often it is right; less is better.",
            metrics.ece,
            metrics.ece_deterministic,
            False,
            "at most 0.03",
            metrics.ece <= 0.03,
        ),
        Comparison(
            "Negative log-likelihood",
            "How surprised the network is by the right answers, in nats; less is better.",
            metrics.nll,
            metrics.nll_deterministic,
            False,
            f"at most {nll_limit:.3f}",
            metrics.nll <= nll_limit,
        ),
        Comparison(
            "Unknown digits noticed (AUROC)",
            "How likely an unknown digit looks stranger than a known one: by epistemic uncertainty for the "
            "Bayesian network, by the entropy of its answer for the other.",
            metrics.ood_auroc_epistemic,
            metrics.ood_auroc_softmax,
            True,
            f"at least {metrics.ood_auroc_softmax:.3f}",
            metrics.ood_auroc_epistemic >= metrics.ood_auroc_softmax,
        ),
    ]


def report(result: DigitsResult, rows: list[Comparison]) -> str:
    """The HTML page of a run."""
    data = result.data
    names = [str(digit) for digit in data.classes]
    held_out = _in_words(sorted({str(digit) for digit in data.unknown_digits.tolist()}), "or")
    return render_report(
        title="What a network knows, and what it doesn\u2019t",
        summary=(
            f"A small network learned to read the handwritten digits {_in_words(names, 'and')}. It has never seen "
            f"any {held_out}. Then one call made it Bayesian. What does it say now, about digits that it knows "
            "and about those that it doesn\u2019t?"
        ),
        class_names=names,
        comparisons=rows,
        known=Answers(
            data.test_images.squeeze(1),
            [names[label] for label in data.test_labels.tolist()],
            result.known.mean,
            result.known.aleatoric,
            result.known.epistemic,
        ),
        unknown=Answers(
            data.unknown_images.squeeze(1),
            [str(digit) for digit in data.unknown_digits.tolist()],
            result.unknown.mean,
            result.unknown.aleatoric,
            result.unknown.epistemic,
        ),
        deterministic_probs=result.deterministic_probs,
    )


def show_table(rows: list[Comparison], seconds: float) -> None:
    """Print the headline figures to standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Known digits, and unknown ones among them ({seconds:.0f} s)", title_justify="left")
    table.add_column("")
    table.add_column("Bayesian", justify="right")
    table.add_column("Deterministic", justify="right")
    table.add_column("Target")
    for row in rows:
        table.add_row(
            row.name,
            Text(f"{row.bayesian:.3f}", "bold" if row.winner == "Bayesian" else ""),
            Text(f"{row.deterministic:.3f}", "bold" if row.winner == "deterministic" else ""),
            Text(f"{row.target}: {'met' if row.target_met else 'missed'}", "green" if row.target_met else "red"),
        )
    console = Console()
    console.print(table)
    for row in rows:
        console.print(Text(f"{row.name}: {row.verdict}"))


def _in_words(names: list[str], last: str) -> str:
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
