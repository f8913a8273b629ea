"""NUTS on every posterior of posteriordb, beside the reference draws: `python -m tests.posteriordb.suite`."""

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

import posterity as pt
from posterity.infer.mcmc.native_trajectories import NativeTrajectories
from posterity.infer.mcmc.stepping import Stepping
from tests.posteriordb import records
from tests.posteriordb.catalogue import POSTERIORS
from tests.posteriordb.comparison import Comparison, compare, largest_z

# The probability that a right program shows a significant z somewhere in the table.
LEVEL = 0.01
# What is aimed for: means within this many posterior standard deviations, standard deviations within this share.
MEAN_OFFSET, SD_OFFSET = 0.1, 0.1
# Chains that disagree more have Monte Carlo errors so large that no mean is significantly off.
LARGEST_R_HAT = 1.03

# Posteriors whose geometry keeps NUTS out of a part of their mass, the acceptance to try beside the usual one, and why.
FUNNELS = {
    "eight_schools-eight_schools_centered": (
        0.99,
        "where the effects' spread tau nears nothing, so does the width of what the effects may do, and the posterior "
        "narrows to a neck. A step that suits the wide part diverges there, so that the chains stay out: a twentieth "
        "of the mass is never seen. Small steps, of a target_accept near 1, reach into the neck at many leapfrogs a "
        "draw, and stay long where they got in, so that chains disagree. The non-centred program, whose posterior is "
        "the same, has no neck.",
    ),
}

# Posteriors of many strongly correlated coefficients, whose trajectories are hundreds of leapfrogs long otherwise.
DENSE = {"diamonds-diamonds"}


class Result(NamedTuple):
    """What a run says of a posterior.

    Attributes:
        name: The posterior's.
        target_accept: The acceptance that the steps were tuned for.
        dim: How many unconstrained numbers it has.
        comparison: The draws against the reference.
        divergences: How many trajectories diverged, after the warm-up.
        deepest: How many trajectories were ended by the greatest depth.
        warmup_leapfrogs: How many leapfrogs the warm-up made, of all chains.
        leapfrogs: How many the sampling made.
        compile_seconds: From the model to what runs, by the clock.
        run_seconds: Warm-up and sampling, of processor time.
    """

    name: str
    target_accept: float
    dim: int
    comparison: Comparison
    divergences: int
    deepest: int
    warmup_leapfrogs: int
    leapfrogs: int
    compile_seconds: float
    run_seconds: float


class TimedMCMC(pt.infer.MCMC):
    """Counts what is spent until the chains can move."""

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run, and note the times."""
        clock, self._processor = time.perf_counter(), time.process_time()
        self._clock = clock
        super().run(*args, **kwargs)
        self.run_seconds = time.process_time() - self._processor

    def _engine(self, *args: Any) -> Stepping | NativeTrajectories:
        engine = super()._engine(*args)
        self.compile_seconds = time.perf_counter() - self._clock
        self._processor = time.process_time()
        return engine


def run(name: str, *, chains: int, warmup: int, samples: int, seed: int, target_accept: float) -> Result:
    """Run NUTS on a posterior, and compare."""
    record, posterior = records.load(name), POSTERIORS[name]
    metric = "dense" if name in DENSE else "diagonal"
    kernel = pt.infer.NUTS(posterior.program, target_accept=target_accept, metric=metric)
    mcmc = TimedMCMC(kernel, warmup, samples, chains, seed=seed, collect_warmup=warmup > 0, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the table shows what they say
        mcmc.run(*posterior.arguments(record.data))
    info, before = mcmc.get_extra_fields(), mcmc._warmup.whole().info if warmup else {}
    draws = posterior.parameters(mcmc.get_samples(group_by_chain=True), record.reference)
    return Result(
        name=name,
        target_accept=target_accept,
        dim=mcmc.potential.dim,
        comparison=compare(draws, record.reference),
        divergences=int(info["is_divergent"].sum()),
        deepest=int((info["tree_depth"] >= kernel.max_tree_depth).sum()),
        warmup_leapfrogs=int(before["num_steps"].sum()) if warmup else 0,
        leapfrogs=int(info["num_steps"].sum()),
        compile_seconds=mcmc.compile_seconds,
        run_seconds=mcmc.run_seconds,
    )


def row(result: Result) -> dict[str, str]:
    """A line of the table, by its columns."""
    found = result.comparison
    ess = float(found.ess.min())
    return {
        "posterior": result.name,
        "accept": f"{result.target_accept:g}",
        "dim": f"{result.dim}",
        "z": f"{found.z.max():.1f}",
        "mean off": f"{found.offset.max():.3f}",
        "sd ratio": f"{found.sd_ratio[found.sd_ratio.log().abs().argmax()]:.3f}",
        "sd z": f"{found.sd_z.max():.1f}",
        "quantile off": f"{found.quantile_offset.max():.3f}",
        "R-hat": f"{found.r_hat.max():.3f}",
        "ESS": f"{ess:.0f}",
        "ESS/s": f"{ess / result.run_seconds:.0f}",
        "divergences": f"{result.divergences}",
        "deepest": f"{result.deepest}",
        "leapfrogs of warm-up": f"{result.warmup_leapfrogs}",
        "of sampling": f"{result.leapfrogs}",
        "ESS/1000": f"{1000 * ess / result.leapfrogs:.1f}",
        "s to compile": f"{result.compile_seconds:.1f}",
        "s to run": f"{result.run_seconds:.2f}",
    }


def misses(result: Result, limit: float) -> list[str]:
    """Which targets a posterior misses."""
    found, said = result.comparison, []
    if not bool((found.z <= limit).all()):
        said.append(f"a mean is {found.z.max():.1f} standard errors off")
    if not bool((found.offset <= MEAN_OFFSET).all()):
        said.append(f"a mean is {found.offset.max():.3f} posterior standard deviations off")
    if not bool(((found.sd_ratio - 1).abs() <= SD_OFFSET).all()):
        low, high = found.sd_ratio.min(), found.sd_ratio.max()
        said.append(
            f"standard deviations are {low:.3f} to {high:.3f} of the reference's, a z of {found.sd_z.max():.1f}"
        )
    if not bool((found.r_hat <= LARGEST_R_HAT).all()):
        said.append(f"the chains disagree, with an R-hat of {found.r_hat.max():.3f}")
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and what misses the targets; 1 if something does that should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.posteriordb.suite", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="posteriors whose names contain one of these")
    for option, default in (("chains", 4), ("warmup", 1000), ("samples", 1000), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default, metavar="N")
    parser.add_argument("--target-accept", type=float, default=0.8, metavar="P")
    options = vars(parser.parse_args(arguments))
    if not records.is_there():
        parser.exit(1, f"there is no {records.FOLDER}; set POSTERITY_DATA to the folder that holds posteriordb/\n")
    only = options.pop("only")
    names = [name for name in POSTERIORS if only is None or any(part in name for part in only)]
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    results: list[Result] = []
    usual = options.pop("target_accept")
    for name in names:
        for target_accept in dict.fromkeys([usual, FUNNELS[name][0]] if name in FUNNELS else [usual]):
            results.append(run(name, target_accept=target_accept, **options))
            cells = row(results[-1])
            if len(results) == 1:
                print(f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}")
            print(f"| {' | '.join(cells.values())} |", flush=True)
    number = sum(len(result.comparison.z) for result in results)
    limit = largest_z(number, LEVEL)
    print(f"\nIn {LEVEL:.0%} of runs in which all {number} means are right, one passes a z of {limit:.2f}.")
    missing = [(result, misses(result, limit)) for result in results]
    for result, said in missing:
        for sentence in said:
            print(f"{result.name} at {result.target_accept:g}: {sentence}.")
    for name in {result.name for result, said in missing if said and result.name in FUNNELS}:
        print(f"{name} is a funnel: {FUNNELS[name][1]}")
    return int(any(said and result.name not in FUNNELS for result, said in missing))


if __name__ == "__main__":
    sys.exit(main())
