"""`posterity demo vae`: an autoencoder learns to write digits; its figures as a table, its pictures as a report."""

import argparse
from collections.abc import Callable, Sequence

import torch

from posterity.cli.autoencoder import VAEMetrics, VAEResult, check_arguments, run_vae
from posterity.cli.prepared import Demo, as_json, refuse
from posterity.cli.vae_data import bundled_digits, mnist
from posterity.toolbox import Measure, render_vae_report

REPORT, METRICS = "vae.html", "vae.json"


def prepare_vae(arguments: argparse.Namespace) -> Demo:
    """Check the arguments and read the data.

    Args:
        arguments: `seed`, `data`, `epochs`, `no_progress` and `held_out`, as the command line has them.

    Raises:
        ValueError: If one is out of range or of the other demo, or the data's files are missing or damaged.
        OSError: If a file of the data can't be read.
    """
    refuse(arguments, ("held_out",), "digits")
    seed, epochs = arguments.seed, arguments.epochs
    check_arguments(seed, epochs)
    try:
        data = bundled_digits(seed) if arguments.data is None else mnist(arguments.data, seed)
    except ValueError as error:
        raise ValueError(f"--data: {error}") from error

    def work() -> tuple[str, str, Callable[[], None]]:
        result = run_vae(data, seed, epochs=epochs, progress=not arguments.no_progress)
        rows = measures(result.metrics)
        return report(result, rows, seed), as_json(result.metrics), lambda: show_table(rows, result.metrics)

    return Demo((REPORT, METRICS), work)


def measures(metrics: VAEMetrics) -> list[Measure]:
    """The headline figures, with the targets that they have."""
    bits = "{:.3f} bits a pixel"
    return [
        Measure(
            "Generated digits read as meant",
            f"How many of {metrics.num_generated} generated digits a network that only saw real ones reads as the "
            "digit that was asked for.",
            f"{100 * metrics.agreement:.2f} %",
            f"95 % interval {100 * metrics.agreement_low:.1f} to {100 * metrics.agreement_high:.1f}",
            "at least 95 %",
            metrics.agreement >= 0.95,
        ),
        Measure(
            "Real digits read right",
            "How many real test images that network reads right: what its word is worth.",
            f"{100 * metrics.classifier_accuracy:.1f} %",
            "",
            "at least 98 %",
            metrics.classifier_accuracy >= 0.98,
        ),
        Measure(
            "Test bound",
            f"The evidence lower bound of a test image\u2019s log probability given its class, the mean over "
            f"{metrics.num_test}; more is better.",
            f"{metrics.test_bound_nats:.2f} nats",
            bits.format(metrics.test_bound_bits_per_dimension),
        ),
        Measure(
            "Test log likelihood",
            f"The same log probability by importance sampling with {metrics.num_importance_samples} codes for each "
            "image, which lies above the bound.",
            f"{metrics.test_log_likelihood_nats:.2f} nats",
            bits.format(metrics.test_log_likelihood_bits_per_dimension),
        ),
    ]


def report(result: VAEResult, rows: Sequence[Measure], seed: int) -> str:
    """The HTML page of a run."""
    data, metrics = result.data, result.metrics
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.test_images), generator=generator)[:2000]
    # One of each digit comes first, and a digit of many shapes before all: the sweeps begin at it.
    found = [(data.test_labels[chosen] == digit % 10).nonzero()[:1] for digit in range(2, 12)]
    first = torch.cat(found).squeeze(1)
    chosen = torch.cat([chosen[first], chosen[~torch.isin(torch.arange(len(chosen)), first)]])
    x = data.grey(data.test_images[chosen]).flatten(1) if data.binarised else data.as_vectors(data.test_images[chosen])
    kind = (
        "Its pixels are black or white: a grey value is the probability of white, drawn anew each time, and the "
        "pictures below show such probabilities."
        if data.binarised
        else f"Its pixels have {data.levels} grey levels."
    )
    name = data.name.replace("'", "\u2019")
    return render_vae_report(
        title="A network that writes digits",
        summary=(
            f"A conditional variational autoencoder has learned the handwriting in {metrics.num_train:,} images of "
            f"{name}, told which digit each shows. {kind} Asked for a digit, it writes one of its own."
        ),
        measures=rows,
        vae=result.vae,
        x=x.bernoulli(generator=generator) if data.binarised else x,
        y=data.test_labels[chosen],
        image_shape=tuple(data.test_images.shape[1:]),
        losses=result.losses,
        generator=generator,
    )


def show_table(rows: Sequence[Measure], metrics: VAEMetrics) -> None:
    """Print the headline figures to standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"An autoencoder of {metrics.data} ({metrics.seconds:.0f} s)", title_justify="left")
    table.add_column("")
    table.add_column("Figure", justify="right")
    table.add_column("", justify="right")
    table.add_column("Target")
    for row in rows:
        verdict = "" if row.target_met is None else f"{row.target}: {'met' if row.target_met else 'missed'}"
        table.add_row(row.name, row.value, row.note, Text(verdict, "green" if row.target_met else "red"))
    Console().print(table)
