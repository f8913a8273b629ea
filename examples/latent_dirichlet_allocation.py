"""Latent Dirichlet allocation (Blei, Ng and Jordan 2003), amortised: an encoder guesses a document's topics.

Shows nested plates, word assignments that are summed out, and a neural network as a guide over local variables. The
documents are those of Griffiths and Steyvers (2004): words are the cells of a 5 x 5 grid, topics its rows and columns.
"""

import argparse
import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

import posterity as pt

dist = pt.distributions

SIDE, NUM_TOPICS, NUM_WORDS, NUM_DOCUMENTS = 5, 10, 50, 500
VOCABULARY = SIDE * SIDE


def true_topics() -> Tensor:
    """The rows and columns of the grid, `[10, 25]`."""
    grid = torch.eye(SIDE).unsqueeze(-1).expand(SIDE, SIDE, SIDE) / SIDE
    return torch.cat([grid.reshape(SIDE, VOCABULARY), grid.transpose(1, 2).reshape(SIDE, VOCABULARY)])


def simulate(seed: int) -> Tensor:
    """Documents `[num_words, num_documents]` of words by their numbers."""
    generator = torch.Generator().manual_seed(seed)
    shares = dist.Dirichlet(torch.full((NUM_TOPICS,), 0.3)).sample((NUM_DOCUMENTS,), generator=generator)
    return dist.Categorical(shares @ true_topics()).sample((NUM_WORDS,), generator=generator)


class Documents:
    """The model, and a guide with an encoder from counts of words to shares of topics."""

    def __init__(self) -> None:
        # Topics are exchangeable: they have to start at different places.
        self.start = 1 + torch.rand(NUM_TOPICS, VOCABULARY)
        self.encoder = nn.Sequential(nn.Linear(VOCABULARY, 64), nn.Softplus(), nn.Linear(64, NUM_TOPICS), nn.Softplus())

    def model(self, words: Tensor, batch_size: int) -> None:
        """Topics are distributions over words; a document mixes a few of them."""
        with pt.plate("topics", NUM_TOPICS):
            topics = pt.sample("topic_words", dist.Dirichlet(torch.full((VOCABULARY,), 0.1)))
        with pt.plate("documents", words.shape[1], subsample_size=batch_size, dim=-1) as batch:
            shares = pt.sample("shares", dist.Dirichlet(torch.full((NUM_TOPICS,), 0.3)))
            with pt.plate("words", words.shape[0], dim=-2):
                topic = pt.sample("topic", dist.Categorical(shares), infer={"enumerate": "parallel"})
                pt.sample("word", dist.Categorical(topics[topic]), obs=words[:, batch])

    def guide(self, words: Tensor, batch_size: int) -> None:
        """Topics by parameters, shares by the encoder."""
        concentration = pt.param("topic_concentration", self.start, constraint=constraints.positive)
        encoder = pt.module("encoder", self.encoder)
        with pt.plate("topics", NUM_TOPICS):
            pt.sample("topic_words", dist.Dirichlet(concentration))
        with pt.plate("documents", words.shape[1], subsample_size=batch_size, dim=-1) as batch:
            counts = nn.functional.one_hot(words[:, batch], VOCABULARY).sum(0).float()
            pt.sample("shares", dist.Dirichlet(encoder(counts) + 0.05))


def picture(topic: Tensor) -> list[str]:
    """A topic as the grid of its words, the darker the likelier."""
    return ["".join(" .:*#"[min(int(25 * p), 4)] for p in row) for row in topic.reshape(SIDE, SIDE).tolist()]


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Fit, and compare each bar with the topic that is nearest to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    steps = parser.parse_args(arguments).steps
    torch.manual_seed(0)
    words = simulate(seed=0)

    documents = Documents()
    schedule = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    svi = pt.infer.SVI(documents.model, documents.guide, torch.optim.Adam, {"lr": 0.03}, scheduler=schedule, seed=0)
    losses = svi.run(steps, words, batch_size=32).losses / words.numel()

    concentration = svi.params["topic_concentration"]
    topics = concentration / concentration.sum(-1, keepdim=True)
    distances = (topics.unsqueeze(1) - true_topics()).abs().sum(-1) / 2
    found = int((distances.min(0).values < 0.2).sum())
    print("topics found:")
    print("\n".join("  ".join(f"{line:5}" for line in lines) for lines in zip(*map(picture, topics), strict=True)))
    print(f"\n{found} of the {NUM_TOPICS} bars have a topic within a total variation of 0.2")
    print(f"nats per word: at first {losses[:20].mean():.3f}, at last {losses[-20:].mean():.3f}")
    return {"found": found, "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean())}


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
