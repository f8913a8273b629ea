"""Probabilistic matrix factorisation (Mnih and Salakhutdinov 2007): ratings as products of tastes and traits.

Shows plates for users and items, ratings as a long list that points into both, a subsample of the list in each step,
and predictions for pairs never seen. The ratings are simulated with three traits, so that the least error is known.
"""

import argparse
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

import posterity as pt

dist = pt.distributions

NUM_USERS, NUM_ITEMS, RANK, NOISE = 200, 100, 3, 0.5


def ratings(user: Tensor, item: Tensor, rating: Tensor | None = None, batch_size: int | None = None) -> Tensor:
    """Ratings `[num_ratings]` of items by users, given by their numbers."""
    spread = pt.sample("spread", dist.HalfNormal(1.0))
    noise = pt.sample("noise", dist.HalfNormal(1.0))
    with pt.plate("users", NUM_USERS):
        tastes = pt.sample("tastes", dist.Normal(0.0, spread).expand([RANK]).to_event(1))
    with pt.plate("items", NUM_ITEMS):
        traits = pt.sample("traits", dist.Normal(0.0, 1.0).expand([RANK]).to_event(1))
    with pt.plate("ratings", len(user), subsample_size=batch_size) as batch:
        product = (tastes[user[batch]] * traits[item[batch]]).sum(-1)
        return pt.sample("rating", dist.Normal(product, noise), obs=None if rating is None else rating[batch])


def simulate(share: float) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Users, items and ratings: those that are known, a share of all, and the others."""
    generator = torch.Generator().manual_seed(0)
    tastes = 0.7 * torch.randn(NUM_USERS, RANK, generator=generator)
    traits = torch.randn(NUM_ITEMS, RANK, generator=generator)
    table = tastes @ traits.T + NOISE * torch.randn(NUM_USERS, NUM_ITEMS, generator=generator)
    known = torch.rand(NUM_USERS, NUM_ITEMS, generator=generator) < share
    users, items = torch.meshgrid(torch.arange(NUM_USERS), torch.arange(NUM_ITEMS), indexing="ij")
    return [(users[which], items[which], table[which]) for which in (known, ~known)]


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit to a fifth of the table, and predict the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    steps = parser.parse_args(arguments).steps
    (user, item, rating), (new_user, new_item, new_rating) = simulate(share=0.2)

    # All-zero factors are a saddle of the density: the guide starts at a draw from the prior.
    guide = pt.infer.AutoNormal(ratings, init=pt.infer.init_to_sample)
    schedule = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    svi = pt.infer.SVI(ratings, guide, torch.optim.Adam, {"lr": 0.03}, scheduler=schedule, seed=0)
    losses = svi.run(steps, user, item, rating, batch_size=1000).losses

    draws = guide.sample_posterior(200, generator=1)
    predicted = pt.infer.Predictive(ratings, draws, return_sites=["rating"], seed=2)(new_user, new_item)["rating"]
    error = (predicted.mean(0) - new_rating).square().mean().sqrt()
    nothing_known = (rating.mean() - new_rating).square().mean().sqrt()
    low, high = predicted.quantile(torch.tensor([0.05, 0.95]), 0)
    coverage = ((low < new_rating) & (new_rating < high)).float().mean()
    print(f"root mean squared error of {len(new_rating)} ratings not seen, from {len(rating)} seen")
    print(f"  the mean of all     {nothing_known:.3f}")
    print(f"  factorisation       {error:.3f}")
    print(f"  the truth's noise   {NOISE:.3f}")
    print(f"noise found: {guide.median()['noise']:.3f}")
    print(f"{coverage:.0%} of the ratings not seen lie in their 90 % interval")
    return {
        "error": float(error),
        "error_of_mean": float(nothing_known),
        "coverage": float(coverage),
        "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
