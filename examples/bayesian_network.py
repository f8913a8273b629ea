"""A Bayesian neural network on a curve with a gap: it knows where it has seen no data.

Shows `pt.module` with `prior=`, which makes a site of every weight of an ordinary network, an automatic guide over
them, and predictions with draws of whole networks. Such a guide holds one way of explaining the data: far outside of
them it is less sure than inside, and still too sure.
"""

import argparse
import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import posterity as pt

dist = pt.distributions

NOISE = 0.1


def truth(x: Tensor) -> Tensor:
    """The function that is to be found."""
    return torch.sin(3 * x) + 0.3 * x


class Curve(nn.Module):
    """A curve as a network sees it: `[num_points]` to `[num_points]`."""

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The network's values at `x`."""
        values: Tensor = self.layers(x.unsqueeze(-1))
        return values.squeeze(-1)


def regression(net: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
    """A network whose weights have a prior, seen through noise."""
    function = pt.module("net", net, prior={"layers.0.*": dist.Normal(0.0, 2.0), "*": dist.Normal(0.0, 1.0)})
    mean = pt.deterministic("mean", function(x))
    with pt.plate("points", len(x)):
        return pt.sample("y", dist.Normal(mean, NOISE), obs=y)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit, and print what the network knows along the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000)
    steps = parser.parse_args(arguments).steps
    torch.manual_seed(0)
    x = torch.cat([torch.linspace(-2.0, -0.7, 60), torch.linspace(0.5, 2.0, 60)])
    y = truth(x) + NOISE * torch.randn(len(x))

    net = Curve()
    guide = pt.infer.AutoMultivariateNormal(regression, init=pt.infer.init_to_sample, init_scale=0.01)
    schedule = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    svi = pt.infer.SVI(regression, guide, torch.optim.Adam, {"lr": 0.01}, scheduler=schedule, seed=0)
    losses = svi.run(steps, net, x, y).losses

    grid = torch.linspace(-3.0, 3.0, 25)
    draws = guide.sample_posterior(500, generator=1)
    mean = pt.infer.Predictive(regression, draws, return_sites=["mean"], seed=2)(net, grid)["mean"]
    spread, centre = mean.std(0), mean.mean(0)
    seen = ((grid >= -2) & (grid <= -0.7)) | ((grid >= 0.5) & (grid <= 2))
    print("    x    truth    mean      sd")
    for point, value, m, s, has_data in zip(grid, truth(grid), centre, spread, seen, strict=True):
        print(f"{point:5.2f}  {value:7.2f} {m:7.2f} {s:7.3f}  {'#' * int(40 * s)}{' data' if has_data else ''}")
    error = (centre - truth(grid))[seen].square().mean().sqrt()
    print(f"\nroot mean squared error where there are data: {error:.3f}; the noise is {NOISE}")
    print(f"mean spread with data {spread[seen].mean():.3f}, without {spread[~seen].mean():.3f}")
    return {
        "error": float(error),
        "spread_ratio": float(spread[~seen].mean() / spread[seen].mean()),
        "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
