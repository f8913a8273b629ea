"""A deep Markov model (Krishnan, Shalit and Sontag 2017) of music: networks say what follows and how it sounds.

Shows `posterity.networks.DeepMarkovModel` on tunes of different lengths, trained by SVI: the bound, the likelihood by
importance sampling, and a tune that it makes up. The tunes are drawn from a hidden Markov model over chords, whose own
likelihood, exact by the forward algorithm, is the least that any model can need.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import posterity as pt
from posterity.networks import DeepMarkovModel

dist = pt.distributions

NUM_NOTES, NUM_CHORDS = 12, 6


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


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train, and compare what it needs for new tunes with the composer's own likelihood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--length", type=int, default=12)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    tunes, lengths = simulate(400, options.length, seed=0)
    new_tunes, new_lengths = simulate(200, options.length, seed=1)

    dmm = DeepMarkovModel(NUM_NOTES, latent_size=8, hidden_size=32, rnn_size=32)
    batches = [
        {"x": some, "lengths": their, "num_data": len(tunes)}
        for some, their in zip(tunes.split(40), lengths.split(40), strict=True)
    ]
    svi = pt.infer.SVI(dmm.model, dmm.guide, torch.optim.Adam, {"lr": 0.01}, clip_norm=1000.0, seed=0)
    losses = svi.run_epochs(options.epochs, batches).losses / lengths.sum()

    bound = sum(svi.evaluate(new_tunes, new_lengths) for _ in range(10)) / 10 / float(new_lengths.sum())
    likelihood = -dmm.log_likelihood(new_tunes, new_lengths, num_importance_samples=200).sum() / new_lengths.sum()
    on = tunes[torch.arange(tunes.shape[1]) < lengths.unsqueeze(-1)].mean(0)
    independent = -dist.Bernoulli(on).log_prob(new_tunes).sum(-1)
    independent = independent[torch.arange(tunes.shape[1]) < new_lengths.unsqueeze(-1)].mean()
    least = exact(new_tunes, new_lengths)
    print("nats per step of new tunes")
    print(f"  independent notes          {independent:.3f}")
    print(f"  deep Markov model, at most {bound:.3f}")
    print(f"  by importance sampling     {likelihood:.3f}")
    print(f"  the composer itself        {least:.3f}")
    print("a new tune, one line a step")
    for step in dmm.generate(1, options.length)[0]:
        print("  " + "".join("#" if on else "." for on in step))
    return {
        "independent": float(independent),
        "bound": bound,
        "likelihood": float(likelihood),
        "exact": float(least),
        "loss_fell_by": float(losses[:10].mean() - losses[-10:].mean()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
