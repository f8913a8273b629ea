"""A Gaussian mixture whose assignments are summed out, on the petals of Fisher's irises.

Shows `infer={"enumerate": "parallel"}`, a guide for the continuous variables alone, and `infer_discrete`, which gives
the assignments back afterwards. The species, which the model never sees, are the reference.
"""

import argparse
import itertools
from collections.abc import Sequence

import torch
from sklearn.datasets import load_iris
from torch import Tensor

import posterity as pt

dist = pt.distributions

NUM_COMPONENTS = 3


def mixture(x: Tensor) -> Tensor:
    """Each flower belongs to one of three components with a location and a scale in each measure."""
    weights = pt.sample("weights", dist.Dirichlet(torch.full((NUM_COMPONENTS,), 5.0)))
    with pt.plate("components", NUM_COMPONENTS):
        locs = pt.sample("locs", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
        scales = pt.sample("scales", dist.LogNormal(-1.0, 0.5).expand([x.shape[1]]).to_event(1))
    with pt.plate("flowers", len(x)):
        component = pt.sample("component", dist.Categorical(weights), infer={"enumerate": "parallel"})
        pt.sample("x", dist.Normal(locs[component], scales[component]).to_event(1), obs=x)
    return component


def agreement(component: Tensor, species: Tensor) -> float:
    """The share of flowers that agree, under the best naming of the components."""
    names = torch.tensor(list(itertools.permutations(range(NUM_COMPONENTS))))
    return float((names[:, component] == species).float().mean(1).max())


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit, assign, and compare with the species."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    steps = parser.parse_args(arguments).steps

    iris = load_iris()
    x, species = torch.tensor(iris.data[:, 2:], dtype=torch.float32), torch.tensor(iris.target)
    x = (x - x.mean(0)) / x.std(0)

    # Components are exchangeable: they have to start at different places.
    start = {"locs": x[[10, 60, 110]], "weights": torch.full((NUM_COMPONENTS,), 1 / NUM_COMPONENTS)}
    guide = pt.infer.AutoNormal(mixture, init=pt.infer.init_to_value(values=start))
    svi = pt.infer.SVI(mixture, guide, torch.optim.Adam, {"lr": 0.02}, seed=0)
    losses = svi.run(steps, x).losses

    given = pt.handlers.substitute(mixture, guide.median())
    assigned = pt.infer.infer_discrete(given, temperature=0)(x)
    right = agreement(assigned, species)
    median = guide.median()
    measures = torch.tensor(iris.data[:, 2:])
    print("component  weight  petal length, width  flowers")
    for k in range(NUM_COMPONENTS):
        length, width = median["locs"][k] * measures.std(0) + measures.mean(0)
        count = int((assigned == k).sum())
        print(f"{k:>9}  {median['weights'][k]:6.2f}  {length:8.2f} cm {width:5.2f} cm  {count:7}")
    print("\nspecies, for comparison")
    for k, name in enumerate(iris.target_names):
        length, width = measures[species == k].mean(0)
        print(f"{name:>10}  0.33  {length:7.2f} cm {width:5.2f} cm  {int((species == k).sum()):7}")
    print(f"\n{right:.0%} of the flowers are in the component of their species")
    return {"agreement": right, "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean())}


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
