"""From the call to the finished run, compiling included, in new processes: 8 schools, 4 chains, 1000 draws after 1000.

Imports of the libraries are left out, and nothing else; what they import late counts. Two times, each with its ratio:
the wall clock's, which a busy machine disturbs, and the processor's, of compilers too.
`python -m benchmarks.cold_start ours` is one run, and prints both.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import tables
from benchmarks.timing import Estimate, median_interval

NUM_CHAINS, NUM_WARMUP, NUM_DRAWS = 4, 1000, 1000
LIMIT = 2.0
_THREADS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


class Seconds(NamedTuple):
    """What a run took."""

    wall: float
    processor: float


def compare(repetitions: int = 5) -> None:
    """Show the table."""
    took: dict[str, list[Seconds]] = {"ours, nothing cached": [], "ours, second process": [], "numpyro": []}
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            for who, own in took.items():
                own.append(_run_apart(who, folder))
    rows = []
    for who, own in took.items():
        wall, processor = (_ratio(own, took["numpyro"], place) for place in (0, 1))
        cells: tuple[str, ...] = ("", "", "", "")
        if who != "numpyro":
            met = "yes" if wall.high <= LIMIT else "NO" if wall.low > LIMIT else "undecided"
            cells = (str(wall), f"<= {LIMIT:g}", met, str(processor))
        processors = f"{median(seconds.processor for seconds in own):.2f}"
        rows.append((who, f"{median(seconds.wall for seconds in own):.2f}", *cells[:3], processors, cells[3]))
    columns = ("who", "wall, s", "ours / numpyro", "target", "met", "processor, s", "ours / numpyro")
    tables.show("8 schools, 4 chains, 1000 + 1000: from the call to the finished run, in a new process", columns, rows)


def _ratio(own: list[Seconds], reference: list[Seconds], place: int) -> Estimate:
    return median_interval([a[place] / b[place] for a, b in zip(own, reference, strict=True)])


def _run_apart(who: str, cache: str) -> Seconds:
    command = [sys.executable, "-m", "benchmarks.cold_start", who.split(",")[0]]
    # Inductor keeps precompiled headers beside its default cache, whatever the cache's folder is.
    environment = {**os.environ, **_THREADS, "TORCHINDUCTOR_CACHE_DIR": cache, "TMPDIR": cache}
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True, text=True)
    return Seconds(*json.loads(done.stdout.splitlines()[-1]))


def _ours() -> Callable[[], object]:
    import torch

    from benchmarks import posteriors
    from posterity.infer import MCMC, NUTS

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    language = posteriors.ours()

    def run() -> object:
        model, data = posteriors.eight_schools().model(language)
        options = {"seed": 0, "progress": False, "compile": True}
        mcmc = MCMC(NUTS(model), NUM_WARMUP, NUM_DRAWS, NUM_CHAINS, **options)
        mcmc.run(*data)
        print({phase: round(seconds, 3) for phase, seconds in mcmc.seconds.items()})
        return mcmc.get_samples()

    return run


def _numpyro() -> Callable[[], object]:
    import jax
    import numpyro

    from benchmarks import posteriors

    jax.config.update("jax_enable_x64", True)
    language = posteriors.numpyro()

    def run() -> object:
        model, data = posteriors.eight_schools().model(language)
        options = {"num_warmup": NUM_WARMUP, "num_samples": NUM_DRAWS, "num_chains": NUM_CHAINS}
        mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(model), chain_method="vectorized", progress_bar=False, **options)
        mcmc.run(jax.random.PRNGKey(0), *data)
        return jax.block_until_ready(mcmc.get_samples())

    return run


def main(who: str) -> None:
    run = {"ours": _ours, "numpyro": _numpyro}[who]()
    wall, processor = time.perf_counter(), sum(os.times()[:4])
    run()
    print(json.dumps([time.perf_counter() - wall, sum(os.times()[:4]) - processor]))


if __name__ == "__main__":
    main(sys.argv[1])
