"""Bayesian linear regression on scikit-learn's diabetes data, with the noise learnt.

Shows a plate, a full-rank guide, quantiles and predictions. Given the noise, the coefficients' posterior is known in
closed form: it stands beside what variational inference found.
"""

import argparse
import functools
from collections.abc import Sequence

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor

import posterity as pt

dist = pt.distributions


def regression(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Coefficients with a standard normal prior: data are standardised."""
    intercept = pt.sample("intercept", dist.Normal(0.0, 1.0))
    weights = pt.sample("weights", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    noise = pt.sample("noise", dist.HalfNormal(1.0))
    with pt.plate("patients", len(x)):
        return pt.sample("y", dist.Normal(intercept + x @ weights, noise), obs=y)


def exact_given_noise(x: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the weights' posterior where the noise is known (Bishop 2006, eq. 3.50-3.51)."""
    design = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    covariance = torch.linalg.inv(torch.eye(design.shape[1]) + design.T @ design / noise**2)
    return (covariance @ design.T @ y.double() / noise**2)[:-1], covariance.diagonal().sqrt()[:-1]


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit, compare with the closed form, and check the predictions for patients held out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args(arguments).steps

    data = load_diabetes(scaled=False)
    x, y = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target, dtype=torch.float32)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:342], order[342:]

    guide = pt.infer.AutoMultivariateNormal(regression)
    schedule = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    svi = pt.infer.SVI(
        regression, guide, torch.optim.Adam, {"lr": 0.02}, scheduler=schedule, seed=0, loss=pt.infer.ELBO(8)
    )
    losses = svi.run(steps, x[train], y[train]).losses

    draws = guide.sample_posterior(4000, generator=1)
    mean, deviation = draws["weights"].mean(0), draws["weights"].std(0)
    exact_mean, exact_deviation = exact_given_noise(x[train], y[train], guide.median()["noise"])
    print(f"noise: {guide.median()['noise']:.3f}\n\n          variational       exact, given the noise")
    for i, name in enumerate(data.feature_names):
        print(f"{name:>5}  {mean[i]:6.3f} +- {deviation[i]:.3f}    {exact_mean[i]:6.3f} +- {exact_deviation[i]:.3f}")

    predicted = pt.infer.Predictive(regression, draws, return_sites=["y"], seed=2)(x[test])["y"]
    low, high = predicted.quantile(torch.tensor([0.05, 0.95]), 0)
    coverage = ((low < y[test]) & (y[test] < high)).float().mean()
    print(f"\n{coverage:.0%} of {len(test)} patients held out lie in their 90 % interval")
    return {
        "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean()),
        "error_in_sd": float(((mean - exact_mean) / exact_deviation).abs().max()),
        "coverage": float(coverage),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
