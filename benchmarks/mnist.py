"""`bayesianize` with its defaults on MNIST, with Fashion-MNIST as what the network never saw.

The fair control is the same network trained on for as many further epochs. Needs the data (`POSTERITY_DATA`).
"""

import argparse
import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import posterity as pt
from benchmarks import tables
from posterity.runtime import Progress
from posterity.toolbox import auroc, expected_calibration_error, negative_log_likelihood

DATA = Path(os.environ.get("POSTERITY_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
EPOCHS, FURTHER_EPOCHS, BATCH_SIZE, NUM_SAMPLES = 4, 3, 128, 32


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if not (DATA / "mnist").is_dir():
        print(f"mnist: skipped, there is no {DATA / 'mnist'}; set POSTERITY_DATA to the folder that holds it")
        return
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    images, labels = read("mnist", "train")
    known, known_labels = read("mnist", "t10k")
    unknown, _ = read("fashion", "t10k")

    network = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))
    train(network, cross_entropy, images, labels, EPOCHS)
    rows = [row("deterministic", network, known, known_labels, unknown)]
    bnn = pt.bayesianize(network)
    train(network, cross_entropy, images, labels, FURTHER_EPOCHS)
    rows.append(row("deterministic, trained on", network, known, known_labels, unknown))
    train(bnn, negative_elbo, images, labels, FURTHER_EPOCHS)
    rows.append(row("bayesianize, defaults", bnn, known, known_labels, unknown))
    columns = ("network", "accuracy", "NLL", "ECE", "AUROC, Fashion (total)", "AUROC, Fashion (epistemic)")
    tables.show(f"MNIST, {EPOCHS} + {FURTHER_EPOCHS} epochs, seed {options.seed}", columns, rows)


def read(folder: str, part: str) -> tuple[Tensor, Tensor]:
    """Images `[count, 784]` from 0 to 1 and labels `[count]`, from the data's own files."""

    def values(kind: str, header: int) -> Tensor:
        raw = gzip.decompress((DATA / folder / f"{part}-{kind}.gz").read_bytes())
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=header)

    return values("images-idx3-ubyte", 16).view(-1, 784) / 255, values("labels-idx1-ubyte", 8).long()


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor, num_data: int) -> Tensor:
    return F.cross_entropy(network(images), labels)


def negative_elbo(network: nn.Module, images: Tensor, labels: Tensor, num_data: int) -> Tensor:
    return pt.elbo_loss(network, F.cross_entropy(network(images), labels), num_data=num_data)


def train(
    network: nn.Module,
    loss_of: Callable[[nn.Module, Tensor, Tensor, int], Tensor],
    images: Tensor,
    labels: Tensor,
    epochs: int,
) -> None:
    """The same ordinary loop for every network."""
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with Progress("Training", total=epochs) as line:
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(BATCH_SIZE):
                optimizer.zero_grad()
                loss = loss_of(network, images[rows], labels[rows], len(images))
                loss.backward()
                optimizer.step()
            line.update(loss=loss.detach())


def row(name: str, network: nn.Module, known: Tensor, labels: Tensor, unknown: Tensor) -> tuple[str, ...]:
    """One network's figures on the known images, and how well its uncertainty tells the unknown ones."""
    if isinstance(network, pt.nn.RandomModule):
        here, there = (pt.predict(network, x, NUM_SAMPLES, task="classification") for x in (known, unknown))
        probs, total = here.mean, auroc(here.total, there.total)
        epistemic = f"{auroc(here.epistemic, there.epistemic):.3f}"
    else:
        with torch.no_grad():
            probs, strange = (network(x).softmax(-1) for x in (known, unknown))
        total, epistemic = auroc(*(torch.special.entr(p).sum(-1) for p in (probs, strange))), ""
    accuracy = (probs.argmax(-1) == labels).double().mean()
    nll, ece = negative_log_likelihood(probs, labels), expected_calibration_error(probs, labels)
    return name, f"{accuracy:.4f}", f"{nll:.4f}", f"{ece:.4f}", f"{total:.3f}", epistemic


if __name__ == "__main__":
    main()
