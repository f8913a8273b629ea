"""NUTS beside NumPyro's, BlackJAX's and Pyro's: time of a leapfrog and effective draws per second, in float64.

All times are the processor's. A leapfrog's is that of sampling over the leapfrogs of all chains. Effective draws are
the fewest over the parameters (bulk), of all rounds' draws together; how many seconds they take is measured round by
round. JAX's setup compiles warm-up and sampling apart, where a user of NumPyro's driver compiles once. Pyro has one
chain in every table, since its chains are processes. `--cold` measures whole runs in fresh processes.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

# JAX reads these when it is imported: one thread for it too.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import torch
from torch import Tensor

from benchmarks import cold_start, posteriors, samplers, tables
from benchmarks.posteriors import Posterior
from benchmarks.samplers import Running
from benchmarks.timing import Estimate, median_interval
from posterity.infer.diagnostics import effective_sample_size


class Case(NamedTuple):
    """A posterior, how many chains of it, how long, and how many times as fast as whom it must be.

    Attributes:
        posterior: Makes it.
        num_chains: How many chains.
        num_warmup: Transitions of warm-up.
        num_draws: Draws of each chain in a round.
        targets: By the peer's name.
        pyro_draws: Pyro's draws in a round; 0 where it would take minutes.
    """

    posterior: Callable[[], Posterior]
    num_chains: int
    num_warmup: int
    num_draws: int
    targets: dict[str, float]
    pyro_draws: int = 0


class Measured(NamedTuple):
    """Of each round."""

    seconds_a_leapfrog: list[float]
    effective_a_second: list[float]
    leapfrogs_a_draw: float


def _small() -> Posterior:
    return posteriors.logistic_regression(1000, 25)


def _large() -> Posterior:
    return posteriors.logistic_regression(10000, 50)


def _gaussian_process() -> Posterior:
    return posteriors.gaussian_process(200)


# At one chain BlackJAX is the moonshot.
CASES = {
    "8 schools, 1 chain": Case(posteriors.eight_schools, 1, 1000, 2000, {"pyro": 15, "blackjax": 1}, 50),
    "8 schools, 4 chains": Case(posteriors.eight_schools, 4, 1000, 1000, {"numpyro": 1}),
    "8 schools, 64 chains": Case(
        posteriors.eight_schools, 64, 1000, 100, {"pyro": 100, "numpyro": 1, "blackjax": 1}, 50
    ),
    "logistic regression 1000 x 25, 1 chain": Case(_small, 1, 1000, 1000, {"pyro": 15, "blackjax": 1}, 20),
    "logistic regression 1000 x 25, 4 chains": Case(_small, 4, 1000, 250, {"numpyro": 1, "blackjax": 1}),
    "logistic regression 1000 x 25, 64 chains": Case(_small, 64, 500, 25, {"numpyro": 1, "blackjax": 1}),
    "logistic regression 10000 x 50, 4 chains": Case(_large, 4, 200, 20, {"numpyro": 3}),
    "Gaussian process of 200 points, 4 chains": Case(_gaussian_process, 4, 150, 10, {"numpyro": 1}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mcmc", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="how many turns each competitor has")
    parser.add_argument("--only", nargs="*", metavar="PART", help="cases whose names hold one of these")
    parser.add_argument("--cold", action="store_true", help="only whole runs in fresh processes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for name, case in CASES.items():
            if not options.cold and (not options.only or any(part in name for part in options.only)):
                _compare(name, case, options.rounds)
    finally:
        torch.set_default_dtype(before)
    if options.cold or not options.only:
        cold_start.compare()


def _compare(name: str, case: Case, rounds: int) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    posterior = case.posterior()
    size = (case.num_chains, case.num_warmup, case.num_draws)
    running = {
        "ours": samplers.ours(posterior, *size),
        "numpyro": samplers.numpyro(posterior, *size),
        "blackjax": samplers.blackjax(posterior, *size),
    }
    if case.pyro_draws:
        running["pyro"] = samplers.pyro(posterior, 1, case.num_warmup, case.pyro_draws)
    measured = _measure(running, rounds)
    rows = []
    for who, chains in running.items():
        theirs, own = measured[who], measured["ours"]
        speed = _ratios(theirs.seconds_a_leapfrog, own.seconds_a_leapfrog)
        yields = _ratios(own.effective_a_second, theirs.effective_a_second)
        limit = case.targets.get(who)
        rows.append(
            (
                who,
                f"{1e6 * median(theirs.seconds_a_leapfrog):.2f}",
                "" if who == "ours" else str(speed),
                "" if limit is None else f">= {limit:g}",
                tables.at_least(speed, limit),
                f"{median(theirs.effective_a_second):.0f}",
                "" if who == "ours" else str(yields),
                tables.at_least(yields, limit),
                f"{theirs.leapfrogs_a_draw:.1f}",
                f"{chains.setup:.1f}",
                f"{chains.warmup:.1f}",
            )
        )
    columns = ("who", "us / leapfrog", "ours x as fast", "target", "met", "min ESS / s", "ours x as many", "met")
    columns += ("leapfrogs / draw", "setup, s", "warm-up, s")
    tables.show(name, columns, rows)


def _measure(running: dict[str, Running], rounds: int) -> dict[str, Measured]:
    """Interleaved rounds, as `benchmarks.timing.measure` has them."""
    torch.set_num_threads(1)
    names = list(running)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    leapfrogs: dict[str, list[int]] = {name: [] for name in names}
    draws: dict[str, list[Tensor]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            began = time.process_time()
            made = running[name].advance()
            seconds[name].append(time.process_time() - began)
            count, values = running[name].read(made)
            leapfrogs[name].append(count)
            draws[name].append(values)
    measured = {}
    for name in names:
        whole = torch.cat(draws[name], 1)
        share = float(effective_sample_size(whole).min()) / rounds
        measured[name] = Measured(
            [took / count for took, count in zip(seconds[name], leapfrogs[name], strict=True)],
            [share / took for took in seconds[name]],
            sum(leapfrogs[name]) / (whole.shape[0] * whole.shape[1]),
        )
    return measured


def _ratios(above: Sequence[float], below: Sequence[float]) -> Estimate:
    return median_interval([a / b for a, b in zip(above, below, strict=True)])


if __name__ == "__main__":
    main()
