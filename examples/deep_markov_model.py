"""A deep Markov model (Krishnan, Shalit and Sontag 2017) of music: networks say what follows and how it sounds.

Shows a loop over time with networks in model and guide, a recurrent encoder that reads each tune backwards, and masks
for tunes of different lengths. The tunes are drawn from a hidden Markov model over chords, whose own likelihood, exact
by the forward algorithm, is the least that any model can need.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import posterity as pt

dist = pt.distributions

NUM_NOTES, NUM_CHORDS, NUM_STATES, WIDTH = 12, 6, 8, 32


def composer() -> tuple[Tensor, Tensor]:
    """Where chords go, `[6, 6]`, and which notes they play, `[6, 12]`: major triads up the circle of fifths."""
    moves = 0.8 * torch.eye(NUM_CHORDS).roll(1, 1) + 0.15 * torch.eye(NUM_CHORDS) + 0.05 / NUM_CHORDS
    notes = torch.full((NUM_CHORDS, NUM_NOTES), 0.02)
    for chord in range(NUM_CHORDS):
        notes[chord, [(7 * chord + step) % NUM_NOTES for step in (0, 4, 7)]] = 0.9
    return moves, notes


def simulate(num_tunes: int, num_steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tunes `[num_tunes, num_steps, 12]` of notes on or off, and their lengths."""
    generator = torch.Generator().manual_seed(seed)
    moves, notes = composer()
    chord = torch.randint(NUM_CHORDS, (num_tunes,), generator=generator)
    chords = [chord]
    for _ in range(num_steps - 1):
        chord = dist.Categorical(moves[chord]).sample(generator=generator)
        chords.append(chord)
    lengths = torch.randint(num_steps // 2, num_steps + 1, (num_tunes,), generator=generator)
    return dist.Bernoulli(notes[torch.stack(chords, 1)]).sample(generator=generator), lengths


def exact(tunes: Tensor, lengths: Tensor) -> Tensor:
    """Nats per step that the composer needs."""
    moves, notes = composer()
    first = dist.Categorical(torch.full((NUM_CHORDS,), 1 / NUM_CHORDS))
    total = torch.zeros(())
    for length in lengths.unique():
        some = tunes[lengths == length, :length]
        sounds = dist.Bernoulli(notes).to_event(1)
        total -= dist.HiddenMarkovModel(first, dist.Categorical(moves), sounds, int(length)).log_prob(some).sum()
    return total / lengths.sum()


class Gaussian(nn.Module):
    """A network whose output is a diagonal normal distribution."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(num_inputs, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2 * NUM_STATES))

    def forward(self, x: Tensor) -> dist.Distribution:
        """The distribution given the inputs, one event each."""
        loc, raw_scale = self.net(x).chunk(2, -1)
        return dist.Normal(loc, nn.functional.softplus(raw_scale) + 1e-3).to_event(1)


class DeepMarkovModel(nn.Module):
    """States that move and sound by networks; the guide reads a tune backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.transition = Gaussian(NUM_STATES)
        self.emission = nn.Sequential(nn.Linear(NUM_STATES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, NUM_NOTES))
        self.reader = nn.GRU(NUM_NOTES, WIDTH, batch_first=True)
        self.combiner = Gaussian(NUM_STATES + WIDTH)
        self.first = nn.Parameter(torch.zeros(NUM_STATES))

    def model(self, tunes: Tensor, lengths: Tensor, num_tunes: int) -> None:
        """A batch of tunes `[batch, num_steps, 12]`, of which `lengths` steps count."""
        with pt.plate("tunes", num_tunes, subsample_size=len(tunes)):
            state = self.first.expand(len(tunes), -1)
            for t in pt.markov(range(tunes.shape[1])):
                with pt.handlers.mask(mask=t < lengths):
                    state = pt.sample(f"state_{t}", self.transition(state))
                    pt.sample(f"notes_{t}", dist.Bernoulli(logits=self.emission(state)).to_event(1), obs=tunes[:, t])

    def guide(self, tunes: Tensor, lengths: Tensor, num_tunes: int) -> None:
        """Each state from the one before and from what is still to come."""
        steps = torch.arange(tunes.shape[1])
        heard = torch.where((steps < lengths.unsqueeze(-1)).unsqueeze(-1), tunes, 0.0)
        future = self.reader(heard.flip(1))[0].flip(1)
        with pt.plate("tunes", num_tunes, subsample_size=len(tunes)):
            state = self.first.expand(len(tunes), -1)
            for t in pt.markov(range(tunes.shape[1])):
                with pt.handlers.mask(mask=t < lengths):
                    state = pt.sample(f"state_{t}", self.combiner(torch.cat([state, future[:, t]], -1)))


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train, and compare the bound on new tunes with the composer's own likelihood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--length", type=int, default=12)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    tunes, lengths = simulate(400, options.length, seed=0)
    new_tunes, new_lengths = simulate(200, options.length, seed=1)

    net = DeepMarkovModel()
    batches = [(*batch, len(tunes)) for batch in zip(tunes.split(40), lengths.split(40), strict=True)]
    svi = pt.infer.SVI(net.model, net.guide, torch.optim.Adam, {"lr": 0.01}, clip_norm=1000.0, seed=0)
    losses = svi.run_epochs(options.epochs, batches).losses / lengths.sum()

    bound = sum(svi.evaluate(new_tunes, new_lengths, len(new_tunes)) for _ in range(10)) / 10 / float(new_lengths.sum())
    on = tunes[torch.arange(tunes.shape[1]) < lengths.unsqueeze(-1)].mean(0)
    independent = -dist.Bernoulli(on).log_prob(new_tunes).sum(-1)
    independent = independent[torch.arange(tunes.shape[1]) < new_lengths.unsqueeze(-1)].mean()
    least = exact(new_tunes, new_lengths)
    print("nats per step of new tunes")
    print(f"  independent notes          {independent:.3f}")
    print(f"  deep Markov model, at most {bound:.3f}")
    print(f"  the composer itself        {least:.3f}")
    return {
        "independent": float(independent),
        "bound": bound,
        "exact": float(least),
        "loss_fell_by": float(losses[:10].mean() - losses[-10:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
