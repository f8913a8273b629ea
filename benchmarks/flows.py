"""Normalizing flows as density models beside zuko's: speed, and the likelihood after the same number of steps.

The same architecture on both sides: layers, hidden widths, SiLU between them, spline bins. zuko's coupling flow of
splines is put together from its own parts, since its `NSF` is autoregressive.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import zuko
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.timing import Call, measure
from posterity.networks import MAF, NeuralSpline, NormalizingFlow, RealNVP

LAYERS, HIDDEN, BINS = 4, (64, 64), 8
FEATURES, BATCHES = (2, 16, 64), (128, 1024)
OURS, ZUKO = "Posterity", "zuko"
# Passes of an autoregressive flow of that many features unroll into graphs that take minutes to compile.
MOST_UNROLLED = 16

Density = Callable[[Tensor], Tensor]
Draw = Callable[[int], Tensor]


class Pair(NamedTuple):
    """A flow on both sides.

    Attributes:
        name: What tables call it.
        ours: Makes ours from the number of features.
        zuko: Makes zuko's.
        is_sequential: Whether draws take a pass per feature.
    """

    name: str
    ours: Callable[[int], NormalizingFlow]
    zuko: Callable[[int], nn.Module]
    is_sequential: bool


def _zuko_coupling_splines(features: int) -> nn.Module:
    layers = [
        zuko.flows.coupling.GeneralCouplingTransform(
            features,
            mask=torch.arange(features) % 2 == i % 2,
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=[(BINS,), (BINS,), (BINS - 1,)],
            **_ZUKO_NETWORK,
        )
        for i in range(LAYERS)
    ]
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(features), torch.ones(features), buffer=True
    )
    return zuko.lazy.Flow(layers, base)


_ZUKO_NETWORK = {"hidden_features": HIDDEN, "activation": nn.SiLU}
PAIRS = (
    Pair(
        "RealNVP",
        lambda d: RealNVP(d, LAYERS, HIDDEN),
        lambda d: zuko.flows.RealNVP(d, transforms=LAYERS, **_ZUKO_NETWORK),
        False,
    ),
    Pair(
        "MAF",
        lambda d: MAF(d, LAYERS, HIDDEN),
        lambda d: zuko.flows.MAF(d, transforms=LAYERS, **_ZUKO_NETWORK),
        True,
    ),
    Pair("NeuralSpline", lambda d: NeuralSpline(d, LAYERS, HIDDEN, num_bins=BINS), _zuko_coupling_splines, False),
    Pair(
        "NeuralSpline, autoregressive",
        lambda d: NeuralSpline(d, LAYERS, HIDDEN, num_bins=BINS, autoregressive=True),
        lambda d: zuko.flows.NSF(d, transforms=LAYERS, bins=BINS, **_ZUKO_NETWORK),
        True,
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flows", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how many turns each competitor has")
    parser.add_argument("--no-compile", action="store_true", help="only eager code, which needs no compiler")
    parser.add_argument("--no-quality", action="store_true", help="only speed")
    parser.add_argument("--no-speed", action="store_true", help="only likelihoods")
    parser.add_argument("--only", nargs="*", default=[], metavar="FLOW", help="flows whose names begin so")
    parser.add_argument("--features", nargs="*", type=int, default=FEATURES)
    parser.add_argument("--batches", nargs="*", type=int, default=BATCHES)
    parser.add_argument("--steps", type=int, default=1000, help="training steps for the likelihoods")
    parser.add_argument("--seeds", type=int, default=3, help="trainings for each likelihood")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pairs = [pair for pair in PAIRS if not options.only or pair.name in options.only]
    if not options.no_speed:
        for compiled in (False,) if options.no_compile else (False, True):
            for pair in pairs:
                speed(pair, options.features, options.batches, options.rounds, compiled)
    if not options.no_quality:
        quality(pairs, options.steps, options.seeds)


def speed(pair: Pair, sizes: Sequence[int], batches: Sequence[int], rounds: int, compiled: bool) -> None:
    """Time densities, training steps and draws, and print them."""
    rows = []
    for features, batch in itertools.product(sizes, batches):
        calls = {OURS: _our_calls(pair, features, batch, compiled), ZUKO: _zuko_calls(pair, features, batch, compiled)}
        for what in calls[OURS]:
            timings = measure({name: own[what] for name, own in calls.items()}, rounds=rounds)
            ratio = timings.ratio(ZUKO, OURS)
            times = (f"{timings.milliseconds(name):.3f}" for name in (OURS, ZUKO))
            rows.append((what, str(features), str(batch), *times, str(ratio), tables.at_least(ratio, 1.0)))
    tables.show(
        f"{pair.name}, {'compiled' if compiled else 'eager'}",
        ("what", "features", "batch", "ours, ms", "zuko, ms", "zuko / ours", ">= 1"),
        rows,
    )


def _our_calls(pair: Pair, features: int, batch: int, compiled: bool) -> dict[str, Call]:
    torch.manual_seed(0)
    flow = pair.ours(features)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return _calls(pair, flow, flow.log_prob, flow.sample, features, batch, compiled)


def _zuko_calls(pair: Pair, features: int, batch: int, compiled: bool) -> dict[str, Call]:
    torch.manual_seed(0)
    flow = pair.zuko(features)

    def draw(number: int) -> Tensor:
        with torch.no_grad():
            return flow().rsample((number,))

    return _calls(pair, flow, lambda x: flow().log_prob(x), draw, features, batch, compiled)


def _calls(
    pair: Pair, flow: nn.Module, log_prob: Density, draw: Draw, features: int, batch: int, compiled: bool
) -> dict[str, Call]:
    x = torch.randn(batch, features, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-5, fused=True)
    graph = partial(torch.compile, dynamic=False) if compiled else (lambda function: function)
    if compiled:
        torch.compiler.reset()
    density, loss, sample = graph(log_prob), graph(lambda x: -log_prob(x).mean()), graph(lambda: draw(batch))

    def evaluate() -> None:
        with torch.no_grad():
            density(x)

    def step() -> None:
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()

    calls: dict[str, Call] = {"log_prob": evaluate, "step": step, "sample": sample}
    if compiled and pair.is_sequential and features > MOST_UNROLLED:
        del calls["sample"]
    return calls


def quality(pairs: Sequence[Pair], num_steps: int, num_seeds: int, batch: int = 256) -> None:
    """Train both sides by the same steps on the same batches, and print the likelihood of held-out rows."""
    rows = []
    for name, data in _data_sets().items():
        train, test = _split(data)
        for pair in pairs:
            losses = []
            for make in (pair.ours, pair.zuko):
                per_seed = [_trained(make, train, test, num_steps, batch, seed) for seed in range(num_seeds)]
                losses.append(torch.tensor(per_seed))
            difference = losses[0] - losses[1]
            cells = (f"{float(loss.mean()):.3f}" for loss in losses)
            spread = "" if num_seeds == 1 else f"{float(difference.std()):.3f}"
            rows.append((name, pair.name, *cells, f"{float(difference.mean()):+.3f}", spread))
    tables.show(
        f"Held-out negative log-likelihood in nats after {num_steps} steps, batch {batch}, {num_seeds} seeds",
        ("data", "flow", "ours", "zuko", "ours - zuko", "its deviation"),
        rows,
    )


def _trained(
    make: Callable[[int], nn.Module], train: Tensor, test: Tensor, num_steps: int, batch: int, seed: int
) -> float:
    """The best held-out loss on the way, looked at every hundredth step: early stopping on both sides."""
    torch.manual_seed(seed)
    flow = make(train.shape[1])
    log_prob = flow.log_prob if isinstance(flow, NormalizingFlow) else lambda x: flow().log_prob(x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    best = float("inf")
    for number, x in zip(range(1, num_steps + 1), _batches(train, batch, seed), strict=False):
        optimizer.zero_grad()
        (-log_prob(x).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if number % 100 == 0:
            with torch.no_grad():
                best = min(best, -float(log_prob(test).mean()))
    return best


def _batches(train: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    stream = torch.Generator().manual_seed(seed)
    size = min(batch, len(train))
    while True:
        for chosen in torch.randperm(len(train), generator=stream).split(size):
            if len(chosen) == size:
                yield train[chosen]


def _split(data: Tensor) -> tuple[Tensor, Tensor]:
    """Four fifths to train on and the rest, standardised by the former."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    cut = 4 * len(data) // 5
    train, test = data[order[:cut]], data[order[cut:]]
    return (train - train.mean(0)) / train.std(0), (test - train.mean(0)) / train.std(0)


def _data_sets() -> Mapping[str, Tensor]:
    from sklearn import datasets
    from sklearn.decomposition import PCA

    toys = {
        "moons": datasets.make_moons(6000, noise=0.08, random_state=0)[0],
        "circles": datasets.make_circles(6000, noise=0.06, factor=0.5, random_state=0)[0],
        "five blobs": datasets.make_blobs(6000, centers=5, cluster_std=0.4, random_state=1)[0],
    }
    real = {
        "wine (13)": datasets.load_wine().data,
        "breast cancer (30)": datasets.load_breast_cancer().data,
        "digits, PCA (16)": PCA(16, random_state=0).fit_transform(datasets.load_digits().data),
    }
    return {name: torch.as_tensor(data, dtype=torch.float32) for name, data in {**toys, **real}.items()}


if __name__ == "__main__":
    main()
