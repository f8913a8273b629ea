"""A hidden Markov model with a loop over time: the states are summed out, however long the sequences are.

Shows `pt.markov`, under which all enumerated states share two dimensions; a log density that equals the forward
algorithm's; and the most probable states afterwards. The data are simulated, so that the truth is known.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import posterity as pt

dist = pt.distributions

# Markets that are calm (0) or nervous (1): daily returns in percent.
TRUTH = {
    "stay": torch.tensor([0.95, 0.85]),
    "locs": torch.tensor([0.3, -0.5]),
    "scales": torch.tensor([0.5, 1.5]),
}


def transitions(stay: Tensor) -> Tensor:
    """The transition matrix of two states from the probabilities of staying."""
    return torch.stack([torch.stack([stay[0], 1 - stay[0]]), torch.stack([1 - stay[1], stay[1]])])


def priors() -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of staying, and the returns' locations and scales, in the calm and in the nervous state."""
    stay = pt.sample("stay", dist.Beta(8.0, 2.0).expand([2]).to_event(1))
    locs = pt.sample("locs", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    scales = pt.sample("scales", dist.LogNormal(0.0, 0.5).expand([2]).to_event(1))
    return stay, locs, scales


def markets(returns: Tensor) -> list[Tensor]:
    """Independent markets with the same states, `[num_markets, num_days]`; the day before the first was calm."""
    num_markets, num_days = returns.shape
    stay, locs, scales = priors()
    matrix = transitions(stay)
    state, states = torch.tensor(0), []
    with pt.plate("markets", num_markets):
        for day in pt.markov(range(num_days)):
            state = pt.sample(f"state_{day}", dist.Categorical(matrix[state]), infer={"enumerate": "parallel"})
            pt.sample(f"return_{day}", dist.Normal(locs[state], scales[state]), obs=returns[:, day])
            states.append(state)
    return states


def simulate(num_markets: int, num_days: int) -> tuple[Tensor, Tensor]:
    """Returns and states, `[num_markets, num_days]`."""
    generator = torch.Generator().manual_seed(0)
    state, states = torch.zeros(num_markets, dtype=torch.long), []
    for _ in range(num_days):
        state = dist.Categorical(transitions(TRUTH["stay"])[state]).sample(generator=generator)
        states.append(state)
    path = torch.stack(states, 1)
    return dist.Normal(TRUTH["locs"][path], TRUTH["scales"][path]).sample(generator=generator), path


def forward_algorithm(values: dict[str, Tensor], returns: Tensor) -> Tensor:
    """The log likelihood by the distribution that sums the states out, `[num_markets]`."""
    matrix = transitions(values["stay"])
    emissions = dist.Normal(values["locs"], values["scales"])
    chain = dist.HiddenMarkovModel(
        dist.Categorical(matrix[0]), dist.Categorical(matrix), emissions, num_steps=returns.shape[1]
    )
    return chain.log_prob(returns)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit, print the parameters beside the truth, and find the nervous days."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--days", type=int, default=30)
    options = parser.parse_args(arguments)
    returns, path = simulate(40, options.days)

    # The two states are exchangeable: the start says which is which.
    start = {"scales": torch.tensor([0.7, 1.3])}
    guide = pt.infer.AutoNormal(markets, init=pt.infer.init_to_value(values=start))
    svi = pt.infer.SVI(markets, guide, torch.optim.Adam, {"lr": 0.05}, seed=0)
    losses = svi.run(options.steps, returns).losses

    median, bounds = guide.median(), guide.quantiles([0.05, 0.95])
    print("                 calm: median, 90 % interval     nervous")
    for name, true in TRUTH.items():
        low, high = bounds[name]
        cells = [f"{median[name][k]:5.2f} ({low[k]:5.2f}, {high[k]:5.2f}), truth {true[k]:5.2f}" for k in (0, 1)]
        print(f"{name:>6}  {'    '.join(cells)}")

    # What the loop says of the data, and what the forward algorithm says.
    likelihood = float(pt.infer.log_density(markets, (returns,), values=median))
    likelihood -= float(pt.infer.log_density(priors, values=median))
    by_hand, at_truth = (float(forward_algorithm(values, returns).sum()) for values in (median, TRUTH))
    print(f"\nlog likelihood: {likelihood:.3f}, by the forward algorithm {by_hand:.3f}; of the truth {at_truth:.3f}")

    given = pt.handlers.substitute(markets, median)
    states = torch.stack(pt.infer.infer_discrete(given, temperature=0)(returns), 1)
    right = float((states == path).float().mean())
    print(f"{right:.0%} of the days are given their state; {float((path == 0).float().mean()):.0%} are calm")
    return {
        "agreement": right,
        "likelihood_difference": abs(likelihood - by_hand),
        "likelihood_below_truth": at_truth - by_hand,
        "loss_fell_by": float(losses[:10].mean() - losses[-10:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
