"""What a Bayesian training step costs, in deterministic training steps.

A step is the loss, its gradients and a fused Adam update, at batch 128. The loss function is compiled as a whole
where it is compiled; the deterministic step that it is compared with then is too.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import posterity as pt
from benchmarks import networks, tables
from benchmarks.peers import Peer, peers
from benchmarks.timing import Call, Timings, measure

BATCH_SIZE, NUM_BATCHES, NUM_DATA = 128, 16, 60_000
DETERMINISTIC = "deterministic"

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Sequence[tuple[Tensor, Tensor]]


class Case(NamedTuple):
    """A network with the estimators that it can have, and how many deterministic steps each may cost at most."""

    name: str
    build: Callable[[], nn.Sequential]
    input_shape: tuple[int, ...]
    eager_limits: Mapping[str, float | None]
    compiled_limits: Mapping[str, float | None]


CASES = (
    Case(
        "MLP 784-400-400-10",
        networks.mlp,
        (784,),
        {"reparam": 2.5, "flipout": None, "local": None},
        {"reparam": 1.8, "flipout": 2.5, "local": 2.5},
    ),
    Case(
        "LeNet-5", networks.lenet, (1, 28, 28), {"reparam": 1.25, "flipout": None}, {"reparam": 1.25, "flipout": None}
    ),
)

# Which estimator of ours does what a peer does.
COUNTERPARTS = {
    "torchbnn": "reparam",
    "blitz": "reparam",
    "bayesian-torch Reparameterization": "reparam",
    "bayesian-torch Flipout": "flipout",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="how many turns each competitor has")
    parser.add_argument("--no-compile", action="store_true", help="only the eager steps, which need no compiler")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for case in CASES:
        eager(case, options.rounds)
        if not options.no_compile:
            compiled(case, options.rounds)


def eager(case: Case, rounds: int) -> None:
    """Time the eager steps, ours and the peers', and print them."""
    torch.manual_seed(0)
    batches = _batches(case)
    steps = {name: _step(*competitor, batches) for name, competitor in _ours(case, case.eager_limits).items()}
    others = peers(case.build())
    steps |= {peer.name: _step(peer.network, _peer_loss(peer), batches) for peer in others}
    timings = measure(steps, rounds=rounds)
    limits = {**case.eager_limits, **{peer.name: None for peer in others}}
    tables.show(
        f"{case.name}, training step, eager",
        ("step", "ms", "x deterministic", "target", "met"),
        _rows(timings, limits),
    )
    tables.show(
        f"{case.name}, training step, eager: beside each peer",
        ("peer", "ours", "ours / peer", "faster"),
        [
            (peer, ours, str(ratio := timings.ratio(ours, peer)), tables.below_one(ratio))
            for peer, ours in COUNTERPARTS.items()
        ],
    )


def compiled(case: Case, rounds: int) -> None:
    """Compile the losses, time the steps, and print them with the seconds that compiling took."""
    torch.manual_seed(0)
    torch.compiler.reset()
    batches = _batches(case)
    steps: dict[str, Call] = {}
    compile_seconds: dict[str, float] = {}
    # Without this only the first run of the benchmark would compile; torch warns that it forgets shapes too.
    with torch.compiler.config.patch(force_disable_caches=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="dynamo_pgo")
        torch.compile(torch.sin)(torch.ones(64))  # the compiler's own start is nobody's compile time
        for name, (network, loss) in _ours(case, case.compiled_limits).items():
            steps[name] = _step(network, torch.compile(loss, fullgraph=True), batches)
            start = time.perf_counter()
            steps[name]()
            compile_seconds[name] = time.perf_counter() - start
    timings = measure(steps, rounds=rounds)
    tables.show(
        f"{case.name}, training step, compiled",
        ("step", "ms", "x deterministic", "target", "met", "compiling, s"),
        [(*row, f"{compile_seconds[row[0]]:.0f}") for row in _rows(timings, case.compiled_limits)],
    )


def _ours(case: Case, estimators: Mapping[str, object]) -> dict[str, tuple[nn.Module, Loss]]:
    """The deterministic network, and the Bayesian ones that it becomes, each with its loss."""

    def deterministic_loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(network(x), y)

    def elbo_of(bnn: nn.Module) -> Loss:
        return lambda x, y: pt.elbo_loss(bnn, F.cross_entropy(bnn(x), y), num_data=NUM_DATA)

    network = case.build()
    converted = {name: pt.bayesianize(network, estimator=name) for name in estimators}
    return {DETERMINISTIC: (network, deterministic_loss)} | {
        name: (bnn, elbo_of(bnn)) for name, bnn in converted.items()
    }


def _peer_loss(peer: Peer) -> Loss:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        logits, kl = peer.draw_with_kl(x)
        return F.cross_entropy(logits, y) + kl / NUM_DATA

    return loss


def _step(network: nn.Module, loss: Loss, batches: Batches) -> Call:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    supply = itertools.cycle(batches)

    def step() -> None:
        value = loss(*next(supply))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def _batches(case: Case) -> Batches:
    shape = (BATCH_SIZE, *case.input_shape)
    return [(torch.randn(shape), torch.randint(0, 10, (BATCH_SIZE,))) for _ in range(NUM_BATCHES)]


def _rows(timings: Timings, limits: Mapping[str, float | None]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(DETERMINISTIC, f"{timings.milliseconds(DETERMINISTIC):.2f}", "1", "", "")]
    for name, limit in limits.items():
        ratio = timings.ratio(name, DETERMINISTIC)
        rows.append((name, f"{timings.milliseconds(name):.2f}", str(ratio), *tables.at_most(ratio, limit)))
    return rows


if __name__ == "__main__":
    main()
