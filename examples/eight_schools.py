"""Eight schools (Rubin 1981): a hierarchical model whose geometry is a funnel, made easy by drawing it non-centred.

Shows `handlers.reparam` around a model as it is written in the books, and a full-rank guide over the result. Such a
guide is normal in log tau, whose posterior has a longer tail below: it puts the mean of tau a little low.
"""

import argparse
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

import posterity as pt

dist = pt.distributions

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
# Posterior means by long runs of Hamiltonian Monte Carlo: posteriordb, eight_schools_noncentered.
REFERENCE = {"mu": 4.4, "tau": 3.6}


def eight_schools(errors: Tensor, effects: Tensor | None = None) -> Tensor:
    """The effect of coaching in each school, around a common mean."""
    mu = pt.sample("mu", dist.Normal(0.0, 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(5.0))
    with pt.plate("schools", len(errors)):
        theta = pt.sample("theta", dist.Normal(mu, tau))
        return pt.sample("y", dist.Normal(theta, errors), obs=effects)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit, and print the posterior of the schools."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args(arguments).steps

    model = pt.handlers.reparam(eight_schools, config={"theta": pt.handlers.LocScaleReparam(centered=0.0)})
    guide = pt.infer.AutoMultivariateNormal(model)
    objective = pt.infer.ELBO(num_particles=8)
    schedule = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    svi = pt.infer.SVI(model, guide, torch.optim.Adam, {"lr": 0.02}, loss=objective, scheduler=schedule, seed=0)
    losses = svi.run(steps, ERRORS, EFFECTS).losses

    draws = guide.sample_posterior(20_000, generator=1)
    # The guide draws what the handler left: the schools' effects follow from it.
    schools = pt.infer.Predictive(model, draws, return_sites=["theta"], seed=2)(ERRORS, EFFECTS)["theta"]
    print("        found  reference")
    for name, known in REFERENCE.items():
        print(f"{name:>5}  {draws[name].mean():6.2f}  {known:6.2f}")
    print("\nschool  measured       posterior")
    for name, effect, error, theta in zip("ABCDEFGH", EFFECTS, ERRORS, schools.T, strict=True):
        print(f"{name:>6}  {effect:4.0f} +- {error:2.0f}   {theta.mean():5.1f} +- {theta.std():4.1f}")
    return {
        "mu": float(draws["mu"].mean()),
        "tau": float(draws["tau"].mean()),
        "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
