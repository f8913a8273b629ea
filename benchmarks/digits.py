"""The digits experiment of `posterity demo`, over ten pairs of held-out digits and five seeds.

Beside the deterministic network stands a fair control: the same network trained on for as many further epochs as
the Bayesian one, with the same optimizer and schedule, so that only being Bayesian differs.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.timing import Estimate
from posterity.cli.digits import (
    BATCH_SIZE,
    DigitsResult,
    entropy,
    load_digits,
    new_network,
    run_digits,
    train,
)
from posterity.runtime import Progress
from posterity.toolbox import auroc, expected_calibration_error, negative_log_likelihood

# A ring, so that every digit is held out twice and nobody has picked the pairs.
PAIRS = tuple((digit, (digit + 1) % 10) for digit in range(10))
EPOCHS, FURTHER_EPOCHS = 40, 30
RESULTS = Path(__file__).parent / "results" / "digits.json"

# Of each metric: its name, and whether less is better.
METRICS = {"accuracy": False, "nll": True, "ece": True, "ood_auroc": False}
NETWORKS = ("bayesian", "deterministic", "control")

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds for each of the ten pairs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows go, as JSON")
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with Progress("Digits", total=options.seeds * len(PAIRS)) as line:
        for seed in range(options.seeds):
            for pair in PAIRS:
                rows.append(run(pair, seed))
                options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
                line.update()
    show(rows)


def run(held_out: tuple[int, int], seed: int) -> Row:
    """The metrics of the three networks for one pair and one seed."""
    result = run_digits(held_out, seed, epochs=EPOCHS, bayesian_epochs=FURTHER_EPOCHS)
    metrics = result.metrics
    return {
        "held_out": list(held_out),
        "seed": seed,
        "bayesian": {
            "accuracy": metrics.accuracy,
            "nll": metrics.nll,
            "ece": metrics.ece,
            "ood_auroc": metrics.ood_auroc_epistemic,
        },
        "deterministic": {
            "accuracy": metrics.accuracy_deterministic,
            "nll": metrics.nll_deterministic,
            "ece": metrics.ece_deterministic,
            "ood_auroc": metrics.ood_auroc_softmax,
        },
        "control": control(result, held_out, seed),
        "seconds": metrics.seconds,
    }


def control(result: DigitsResult, held_out: tuple[int, int], seed: int) -> dict[str, float]:
    """The metrics of the deterministic network of a run, trained on as the Bayesian one was."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = load_digits(held_out, seed)
    network = new_network(len(data.classes))
    train(network, data, EPOCHS)
    with torch.no_grad():
        assert torch.equal(network(data.test_images).softmax(-1), result.deterministic_probs), "not the same network"
    _train_on(network, data.train_images, data.train_labels)
    with torch.no_grad():
        known, unknown = network(data.test_images).softmax(-1), network(data.unknown_images).softmax(-1)
    return {
        "accuracy": (known.argmax(-1) == data.test_labels).double().mean().item(),
        "nll": negative_log_likelihood(known, data.test_labels).item(),
        "ece": expected_calibration_error(known, data.test_labels).item(),
        "ood_auroc": auroc(entropy(known), entropy(unknown)).item(),
    }


def _train_on(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """`train_bayesian` of the experiment, without the KL."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, fused=True)
    steps = FURTHER_EPOCHS * -(-len(labels) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(FURTHER_EPOCHS):
        for rows in torch.split(torch.randperm(len(labels)), BATCH_SIZE):
            loss = F.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def show(rows: Sequence[Row]) -> None:
    """Print the means, the paired differences and the targets."""
    tables.show(
        f"Digits: mean of {len(rows)} runs (95% interval)",
        ("metric", *NETWORKS),
        [(metric, *(_cell(mean(rows, _value(network, metric))) for network in NETWORKS)) for metric in METRICS],
    )
    for other in NETWORKS[1:]:
        tables.show(
            f"Digits: Bayesian minus {other}, run by run",
            ("metric", "mean difference", "Bayesian better", "equal", "worse"),
            [_difference(rows, metric, other) for metric in METRICS],
        )
    _show_targets(rows)


def mean(rows: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    """The mean over the runs with its 95% interval.

    The runs of one pair are alike, so the pairs' means are what the interval takes as independent (Student's t).
    """
    by_pair = [np.mean([value(row) for row in rows if row["held_out"] == list(pair)]) for pair in PAIRS]
    centre = float(np.mean(by_pair))
    half = float(stats.t.ppf(0.975, len(by_pair) - 1) * stats.sem(by_pair))
    return Estimate(centre, centre - half, centre + half)


def _show_targets(rows: Sequence[Row]) -> None:
    def difference(row: Row) -> float:
        return row["bayesian"]["ood_auroc"] - row["deterministic"]["ood_auroc"]

    def nll_ratio(row: Row) -> float:
        return row["bayesian"]["nll"] / row["deterministic"]["nll"]

    targets: list[tuple[str, Callable[[Row], float], Callable[[float], bool]]] = [
        ("accuracy >= 0.97", _value("bayesian", "accuracy"), lambda value: value >= 0.97),
        ("ECE <= 0.03", _value("bayesian", "ece"), lambda value: value <= 0.03),
        ("NLL / deterministic NLL <= 1.5", nll_ratio, lambda value: value <= 1.5),
        ("epistemic AUROC - softmax AUROC >= 0", difference, lambda value: value >= 0),
    ]
    cells = []
    for name, value, is_met in targets:
        estimate, hits = mean(rows, value), sum(is_met(value(row)) for row in rows)
        cells.append((name, _cell(estimate), "yes" if is_met(estimate.value) else "NO", f"{hits} of {len(rows)}"))
    tables.show("Digits: targets", ("target", "mean", "met in the mean", "met in runs"), cells)


def _difference(rows: Sequence[Row], metric: str, other: str) -> tuple[str, ...]:
    def difference(row: Row) -> float:
        return row["bayesian"][metric] - row[other][metric]

    sign = -1 if METRICS[metric] else 1
    signs = [np.sign(sign * difference(row)) for row in rows]
    return metric, _cell(mean(rows, difference)), *(str(signs.count(outcome)) for outcome in (1, 0, -1))


def _value(network: str, metric: str) -> Callable[[Row], float]:
    return lambda row: row[network][metric]


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


if __name__ == "__main__":
    main()
