"""A sigmoid belief net (Neal 1992): a network whose hidden units are coins, trained with VIMCO.

Shows discrete latent variables in a guide, and an objective with `plate=`, which gives each image a bound of its own.
With twelve hidden units their 4096 states can be summed over: the exact likelihood stands beside the bounds.
"""

import argparse
from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import posterity as pt

dist = pt.distributions

NUM_PIXELS, NUM_UNITS = 64, 12


class BeliefNet(nn.Module):
    """Coins make images; an encoder guesses the coins."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.zeros(NUM_UNITS))
        self.decoder = nn.Linear(NUM_UNITS, NUM_PIXELS)
        self.encoder = nn.Sequential(nn.Linear(NUM_PIXELS, 64), nn.Tanh(), nn.Linear(64, NUM_UNITS))

    def model(self, x: Tensor, num_images: int) -> None:
        """A batch of images, `[batch, 64]`, of `num_images` in all."""
        with pt.plate("images", num_images, subsample_size=len(x)):
            units = pt.sample("units", dist.Bernoulli(logits=self.prior).to_event(1))
            pt.sample("x", dist.Bernoulli(logits=self.decoder(units)).to_event(1), obs=x)

    def guide(self, x: Tensor, num_images: int) -> None:
        """The hidden units given images."""
        with pt.plate("images", num_images, subsample_size=len(x)):
            pt.sample("units", dist.Bernoulli(logits=self.encoder(x)).to_event(1))

    @torch.no_grad()
    def exact(self, x: Tensor) -> Tensor:
        """The log likelihood of images, `[num_images]`, by the sum over all states of the hidden units."""
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * NUM_UNITS)
        prior = dist.Bernoulli(logits=self.prior).log_prob(states).sum(-1)
        # What does not depend on the pixel's value, and what does: [num_states], [num_states, 64].
        logits = self.decoder(states)
        return torch.logsumexp(x @ logits.T - nn.functional.softplus(logits).sum(-1) + prior, -1)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train on binary digits, and compare the bounds on digits held out with their exact likelihood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--particles", type=int, default=10)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    x = torch.tensor(load_digits().data > 7, dtype=torch.float32)
    x = x[torch.randperm(len(x))]
    train, test = x[:1500], x[1500:]

    net = BeliefNet()
    objective = pt.infer.VIMCO(options.particles, plate="images")
    batches = [(batch, len(train)) for batch in train.split(100)]
    svi = pt.infer.SVI(net.model, net.guide, torch.optim.Adam, {"lr": 5e-3}, loss=objective, seed=0)
    losses = svi.run_epochs(options.epochs, batches).losses / len(train)

    on = train.mean(0).clamp(0.01, 0.99)
    independent = -dist.Bernoulli(on).log_prob(test).sum(-1).mean()
    print(f"nats per digit held out\n  independent pixels  {independent:.2f}")
    bounds = {}
    for k in (2, 10, 100):
        tighter = pt.infer.VIMCO(k, plate="images")
        with torch.no_grad():
            bounds[k] = float(tighter.loss(net.model, net.guide, test, len(test))) / len(test)
        print(f"  bound of {k:>3} draws   {bounds[k]:.2f}")
    exact = -float(net.exact(test).mean())
    print(f"  exact               {exact:.2f}")
    return {
        "independent": float(independent),
        "exact": exact,
        "bound_2": bounds[2],
        "bound_100": bounds[100],
        "loss_fell_by": float(losses[:15].mean() - losses[-15:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
