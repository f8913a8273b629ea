"""Eight schools (Rubin 1981) by the No-U-Turn Sampler: draws from the posterior itself.

Shows `MCMC` on the model as it is written in the books, drawn non-centred by `handlers.reparam`, and its summary; the
same model is fitted by variational inference in `eight_schools.py`.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import posterity as pt

dist = pt.distributions

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
# Posterior means by long runs of another implementation: posteriordb, eight_schools_noncentered.
REFERENCE = {"mu": 4.4, "tau": 3.6}


def eight_schools(errors: Tensor, effects: Tensor | None = None) -> Tensor:
    """The effect of coaching in each school, around a common mean."""
    mu = pt.sample("mu", dist.Normal(0.0, 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(5.0))
    with pt.plate("schools", len(errors)):
        theta = pt.sample("theta", dist.Normal(mu, tau))
        return pt.sample("y", dist.Normal(theta, errors), obs=effects)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Draw, and print the summary and the means beside the reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="draws of each of the four chains")
    steps = parser.parse_args(arguments).steps

    model = pt.handlers.reparam(eight_schools, config={"theta": pt.handlers.LocScaleReparam(centered=0.0)})
    mcmc = pt.infer.MCMC(pt.infer.NUTS(model, target_accept=0.9), steps, steps, num_chains=4, seed=0)
    mcmc.run(ERRORS, effects=EFFECTS)
    print(mcmc.summary())
    draws = mcmc.get_samples()
    print("\n        found  reference")
    for name, known in REFERENCE.items():
        print(f"{name:>5}  {draws[name].mean():6.2f}  {known:6.2f}")
    summary = mcmc.summary()
    return {
        "mu": float(draws["mu"].mean()),
        "tau": float(draws["tau"].mean()),
        "mu_error": float(summary["mu"]["mcse_mean"]),
        "tau_error": float(summary["tau"]["mcse_mean"]),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
