"""What a prediction from 100 posterior draws costs for one input, in deterministic forwards of batch 100.

Ours is the whole of `pt.predict`: checks, draws, mean, both uncertainties and the mixture. The peers have no such
function: theirs is the loop of forwards alone. What is called frozen runs inside `pt.nn.frozen_posterior`.
"""

import argparse
import contextlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import posterity as pt
from benchmarks import networks, tables
from benchmarks.peers import Peer, peers
from benchmarks.timing import Call, measure

NUM_SAMPLES = 100
LIMITS = {"local": 1.5, "flipout": None, "reparam": None}
FROZEN = "{}, frozen"
DETERMINISTIC, LOOP = "deterministic, batch 100", "deterministic, 100 forwards of batch 1"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how many turns each competitor has")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = networks.mlp().eval()
    one, hundred = torch.randn(1, 784), torch.randn(NUM_SAMPLES, 784)
    others = peers(network)
    frozen = {name: _trained(network, name) for name in LIMITS}
    calls: dict[str, Call] = {
        DETERMINISTIC: _without_gradients(lambda: network(hundred)),
        LOOP: _without_gradients(lambda: _loop(network, one)),
        **{name: _predict(_trained(network, name), one) for name in LIMITS},
        **{FROZEN.format(name): _predict(bnn, one) for name, bnn in frozen.items()},
        **{peer.name: _peer(peer, one) for peer in others},
    }
    with contextlib.ExitStack() as blocks:
        for bnn in frozen.values():
            blocks.enter_context(pt.nn.frozen_posterior(bnn))
        timings = measure(calls, rounds=options.rounds)
    limits = LIMITS | {FROZEN.format(name): limit for name, limit in LIMITS.items()}
    rows = []
    for name in calls:
        ratio = timings.ratio(name, DETERMINISTIC)
        value = "1" if name == DETERMINISTIC else str(ratio)
        rows.append((name, f"{timings.milliseconds(name):.2f}", value, *tables.at_most(ratio, limits.get(name))))
    tables.show(
        "MLP 784-400-400-10, prediction from 100 draws for one input",
        ("prediction", "ms", "x deterministic, batch 100", "target", "met"),
        rows,
    )


def _trained(network: nn.Module, estimator: str) -> nn.Module:
    """The Bayesian network after a few steps, since `predict` warns about one that was never trained."""
    bnn = pt.bayesianize(network, estimator=estimator)
    optimizer = torch.optim.Adam(bnn.parameters(), lr=1e-3, fused=True)
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    for _ in range(3):
        loss = pt.elbo_loss(bnn, F.cross_entropy(bnn(x), y), num_data=60_000)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return bnn


def _predict(bnn: nn.Module, x: Tensor) -> Call:
    return lambda: pt.predict(bnn, x, NUM_SAMPLES, task="classification")


def _peer(peer: Peer, x: Tensor) -> Call:
    return _without_gradients(lambda: _loop(peer.draw, x))


def _loop(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.stack([forward(x) for _ in range(NUM_SAMPLES)])


def _without_gradients(call: Call) -> Call:
    def without() -> object:
        with torch.no_grad():
            return call()

    return without


if __name__ == "__main__":
    main()
