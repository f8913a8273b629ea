"""Runs that kill their own process on the way; `python -m tests.infer.killed_runs NAME DIRECTORY`."""

import os
import signal
import sys

import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import SGHMC, SGMCMC, SMC

ZERO = torch.zeros((), dtype=torch.float64)
DATA = torch.tensor([0.1, 0.4, 1.2, 2.5, -0.7, 1.1, 0.9, 3.0], dtype=torch.float64)


def model(x):
    loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
    with pt.plate("data", len(x), subsample_size=4) as indices:
        pt.sample("x", dist.Normal(loc, 1.0), obs=x[indices])


def narrow(x):
    z = pt.sample("z", dist.Normal(ZERO, 1.0).expand([3]).to_event(1))
    pt.sample("x", dist.Normal(z, 0.01).to_event(1), obs=x)


def sgmcmc(program=model, num_samples=3000, **options):
    own = {"num_warmup": 500, "num_chains": 2, "thin": 2, "seed": 4, "progress": False, "compile": False}
    return SGMCMC(SGHMC(program, step_size=0.01), num_samples=num_samples, **(own | options))


def smc(program=narrow, **options):
    return SMC(program, **({"num_particles": 50, "num_steps": 3, "seed": 4, "progress": False} | options))


def until(program, calls):
    """The program, which is killed at a call."""
    number = 0

    def counted(x):
        nonlocal number
        number += 1
        if number == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        program(x)

    return counted


if __name__ == "__main__":
    _, name, directory = sys.argv
    if name == "sgmcmc":
        sgmcmc(until(model, 5000), directory=directory).run(DATA)
    else:
        smc(until(narrow, 40), directory=directory).run(DATA[:3])
