"""Steps of stochastic variational inference beside Pyro's and NumPyro's, with and without what compiling takes.

NumPyro appears twice: `update` is its jitted step, called from Python as a training loop over batches does, `scan` a
compiled loop over it, which is what its `svi.run` is.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# JAX reads these when it is imported: one thread for it too.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import torch
from torch import nn

import posterity as pt
from benchmarks import tables
from benchmarks.timing import measure
from posterity import distributions as dist

LEARNING_RATE = 0.001
Steps = Callable[[int], object]

# What the ratios must be, ours compiled / theirs: Pyro's reciprocals are 5 on the small models and 1.2 on the large.
TARGETS = {
    "logistic regression": {"pyro": 1 / 5, "numpyro update": 1.0, "numpyro scan": 2.0},
    "eight schools": {"pyro": 1 / 5, "numpyro update": 1.0, "numpyro scan": 2.0},
    "VAE, 32 hidden": {"pyro": 1 / 5, "numpyro update": 1.0, "numpyro scan": 1.0},
    "VAE, 400 hidden": {"pyro": 1 / 1.2, "numpyro update": 1.0, "numpyro scan": 1.0},
}


class Problem(NamedTuple):
    """One model in three languages: makers of functions that take a number of steps."""

    ours: Callable[[bool], Steps]
    pyro: Callable[[], Steps]
    numpyro: Callable[[bool], Steps]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.svi", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="how many turns each competitor has")
    parser.add_argument("--only", nargs="*", metavar="PART", help="problems whose names hold one of these")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name, problem in _problems().items():
        if not options.only or any(part in name for part in options.only):
            _compare(name, problem, options.rounds)


def _compare(name: str, problem: Problem, rounds: int) -> None:
    makers: dict[str, Callable[[], Steps]] = {
        "ours, compiled": lambda: problem.ours(True),
        "ours, eager": lambda: problem.ours(False),
        "pyro": problem.pyro,
        "numpyro update": lambda: problem.numpyro(False),
        "numpyro scan": lambda: problem.numpyro(True),
    }
    steps, beginnings = {}, {}
    number = 20 if "400" in name else 100
    for who, make in makers.items():
        start = time.perf_counter()
        steps[who] = make()
        steps[who](number)
        beginnings[who] = time.perf_counter() - start
    calls = {who: (lambda take=take: take(number)) for who, take in steps.items()}
    timings = measure(calls, rounds=rounds, turn=0.2)
    rows = []
    for who in calls:
        ratio = timings.ratio("ours, compiled", who)
        limit = TARGETS[name].get(who)
        rows.append(
            (
                who,
                f"{1e3 * timings.milliseconds(who) / number:.1f}",
                "" if who == "ours, compiled" else str(ratio),
                *(tables.at_most(ratio, limit) if limit else ("", "")),
                f"{beginnings[who]:.1f}",
            )
        )
    columns = ("who", "us a step", "ours, compiled / theirs", "target", "met", "until the first steps are taken, s")
    tables.show(name, columns, rows)


def _problems() -> dict[str, Problem]:
    return {
        "logistic regression": _logistic_regression(),
        "eight schools": _eight_schools(),
        "VAE, 32 hidden": vae(32),
        "VAE, 400 hidden": vae(400),
    }


def _ours(model: Any, guide: Any, *args: Any, compiled: bool, **kwargs: Any) -> Steps:
    svi = pt.infer.SVI(model, guide, torch.optim.Adam, {"lr": LEARNING_RATE}, seed=0, progress=False, compile=compiled)
    return lambda number: svi.run(number, *args, **kwargs)


def _pyro(model: Any, guide: Any, *args: Any, **kwargs: Any) -> Steps:
    import pyro

    # Its default loss; `Trace_ELBO`'s closed forms are no faster.
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), pyro.infer.Trace_ELBO())
    return lambda number: [svi.step(*args, **kwargs) for _ in range(number)]


def _numpyro(model: Any, guide: Any, *args: Any, scan: bool, **kwargs: Any) -> Steps:
    import jax
    import numpyro

    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), numpyro.infer.Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(0), *args, **kwargs)
    if not scan:
        update = jax.jit(svi.update)

        def stepwise(number: int) -> None:
            nonlocal state
            for _ in range(number):
                state, _ = update(state, *args, **kwargs)
            jax.block_until_ready(state)

        return stepwise

    def loop(state: Any, number: int) -> Any:
        return jax.lax.scan(lambda s, _: svi.update(s, *args, **kwargs), state, None, length=number)

    scanned = jax.jit(loop, static_argnums=1)

    def at_once(number: int) -> None:
        nonlocal state
        state, _ = scanned(state, number)
        jax.block_until_ready(state)

    return at_once


def _logistic_regression() -> Problem:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1000, 25), dtype=np.float32)
    logits = x @ generator.standard_normal(25, dtype=np.float32)
    y = (generator.random(1000) < 1 / (1 + np.exp(-logits))).astype(np.float32)

    def ours(compiled: bool) -> Steps:
        def model(x: torch.Tensor, y: torch.Tensor) -> None:
            weight = pt.sample("weight", dist.Normal(torch.zeros(25), 1.0).to_event(1))
            bias = pt.sample("bias", dist.Normal(0.0, 1.0))
            with pt.plate("data", len(x)):
                pt.sample("y", dist.Bernoulli(logits=x @ weight + bias), obs=y)

        guide = pt.infer.AutoNormal(model)
        return _ours(model, guide, torch.from_numpy(x), torch.from_numpy(y), compiled=compiled)

    def pyro() -> Steps:
        import pyro
        import pyro.distributions as pd

        pyro.clear_param_store()

        def model(x: torch.Tensor, y: torch.Tensor) -> None:
            weight = pyro.sample("weight", pd.Normal(torch.zeros(25), 1.0).to_event(1))
            bias = pyro.sample("bias", pd.Normal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("y", pd.Bernoulli(logits=x @ weight + bias), obs=y)

        guide = pyro.infer.autoguide.AutoNormal(model)
        return _pyro(model, guide, torch.from_numpy(x), torch.from_numpy(y))

    def numpyro(scan: bool) -> Steps:
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as nd

        def model(x: Any, y: Any) -> None:
            weight = numpyro.sample("weight", nd.Normal(jnp.zeros(25), 1.0).to_event(1))
            bias = numpyro.sample("bias", nd.Normal(0.0, 1.0))
            with numpyro.plate("data", len(x)):
                numpyro.sample("y", nd.Bernoulli(logits=x @ weight + bias), obs=y)

        guide = numpyro.infer.autoguide.AutoNormal(model)
        return _numpyro(model, guide, jnp.asarray(x), jnp.asarray(y), scan=scan)

    return Problem(ours, pyro, numpyro)


def _eight_schools() -> Problem:
    effects = np.array([28, 8, -3, 7, -1, 1, 18, 12], dtype=np.float32)
    errors = np.array([15, 10, 16, 11, 9, 11, 10, 18], dtype=np.float32)

    def ours(compiled: bool) -> Steps:
        def model(sigma: torch.Tensor, y: torch.Tensor) -> None:
            mu = pt.sample("mu", dist.Normal(0.0, 5.0))
            tau = pt.sample("tau", dist.HalfCauchy(5.0))
            with pt.plate("schools", 8):
                theta = pt.sample("theta", dist.Normal(mu, tau))
                pt.sample("y", dist.Normal(theta, sigma), obs=y)

        guide = pt.infer.AutoMultivariateNormal(model)
        return _ours(model, guide, torch.from_numpy(errors), torch.from_numpy(effects), compiled=compiled)

    def pyro() -> Steps:
        import pyro
        import pyro.distributions as pd

        pyro.clear_param_store()

        def model(sigma: torch.Tensor, y: torch.Tensor) -> None:
            mu = pyro.sample("mu", pd.Normal(0.0, 5.0))
            tau = pyro.sample("tau", pd.HalfCauchy(5.0))
            with pyro.plate("schools", 8):
                theta = pyro.sample("theta", pd.Normal(mu, tau))
                pyro.sample("y", pd.Normal(theta, sigma), obs=y)

        guide = pyro.infer.autoguide.AutoMultivariateNormal(model)
        return _pyro(model, guide, torch.from_numpy(errors), torch.from_numpy(effects))

    def numpyro(scan: bool) -> Steps:
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as nd

        def model(sigma: Any, y: Any) -> None:
            mu = numpyro.sample("mu", nd.Normal(0.0, 5.0))
            tau = numpyro.sample("tau", nd.HalfCauchy(5.0))
            with numpyro.plate("schools", 8):
                theta = numpyro.sample("theta", nd.Normal(mu, tau))
                numpyro.sample("y", nd.Normal(theta, sigma), obs=y)

        guide = numpyro.infer.autoguide.AutoMultivariateNormal(model)
        return _numpyro(model, guide, jnp.asarray(errors), jnp.asarray(effects), scan=scan)

    return Problem(ours, pyro, numpyro)


PIXELS, LATENTS, BATCH = 784, 50, 128


class Encoder(nn.Module):
    """The encoder of Pyro's tutorial."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(PIXELS, hidden)
        self.loc, self.log_scale = nn.Linear(hidden, LATENTS), nn.Linear(hidden, LATENTS)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = nn.functional.softplus(self.hidden(x))
        return self.loc(hidden), self.log_scale(hidden).exp()


class Decoder(nn.Module):
    """The decoder of Pyro's tutorial, up to its logits."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden, self.logits = nn.Linear(LATENTS, hidden), nn.Linear(hidden, PIXELS)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.logits(nn.functional.softplus(self.hidden(z)))


def vae(hidden: int) -> Problem:
    images = (np.random.default_rng(0).random((BATCH, PIXELS)) < 0.13).astype(np.float32)

    def ours(compiled: bool) -> Steps:
        torch.manual_seed(0)
        encoder, decoder = Encoder(hidden), Decoder(hidden)

        def model(x: torch.Tensor) -> None:
            decode = pt.module("decoder", decoder)
            with pt.plate("data", BATCH):
                z = pt.sample("z", dist.Normal(torch.zeros(BATCH, LATENTS), 1.0).to_event(1))
                pt.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

        def guide(x: torch.Tensor) -> None:
            encode = pt.module("encoder", encoder)
            with pt.plate("data", BATCH):
                pt.sample("z", dist.Normal(*encode(x)).to_event(1))

        return _ours(model, guide, torch.from_numpy(images), compiled=compiled)

    def pyro() -> Steps:
        import pyro
        import pyro.distributions as pd

        pyro.clear_param_store()
        torch.manual_seed(0)
        encoder, decoder = Encoder(hidden), Decoder(hidden)

        def model(x: torch.Tensor) -> None:
            pyro.module("decoder", decoder)
            with pyro.plate("data", BATCH):
                z = pyro.sample("z", pd.Normal(torch.zeros(BATCH, LATENTS), 1.0).to_event(1))
                pyro.sample("x", pd.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

        def guide(x: torch.Tensor) -> None:
            pyro.module("encoder", encoder)
            with pyro.plate("data", BATCH):
                pyro.sample("z", pd.Normal(*encoder(x)).to_event(1))

        return _pyro(model, guide, torch.from_numpy(images))

    def numpyro(scan: bool) -> Steps:
        import jax
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as nd

        def dense(name: str, ins: int, outs: int) -> Callable[[Any], Any]:
            weight = numpyro.param(f"{name}.weight", lambda key: jax.random.normal(key, (ins, outs)) / ins**0.5)
            bias = numpyro.param(f"{name}.bias", jnp.zeros(outs))
            return lambda x: x @ weight + bias

        def model(x: Any) -> None:
            first, second = dense("decoder.hidden", LATENTS, hidden), dense("decoder.logits", hidden, PIXELS)
            with numpyro.plate("data", BATCH):
                z = numpyro.sample("z", nd.Normal(jnp.zeros((BATCH, LATENTS)), 1.0).to_event(1))
                logits = second(jax.nn.softplus(first(z)))
                numpyro.sample("x", nd.Bernoulli(logits=logits).to_event(1), obs=x)

        def guide(x: Any) -> None:
            first = dense("encoder.hidden", PIXELS, hidden)
            loc, log_scale = dense("encoder.loc", hidden, LATENTS), dense("encoder.scale", hidden, LATENTS)
            inner = jax.nn.softplus(first(x))
            with numpyro.plate("data", BATCH):
                numpyro.sample("z", nd.Normal(loc(inner), jnp.exp(log_scale(inner))).to_event(1))

        return _numpyro(model, guide, jnp.asarray(images), scan=scan)

    return Problem(ours, pyro, numpyro)


if __name__ == "__main__":
    main()
