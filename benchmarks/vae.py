"""The variational autoencoder of `posterity.networks`: its training step beside others', and its bound on MNIST.

The step is that of 784-400-50 at batch 128, beside PyTorch written by hand, Pyro and NumPyro. `--mnist EPOCHS` trains
the network of Burda, Grosse and Salakhutdinov (2016) instead, by three objectives, and needs the data.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import posterity as pt
from benchmarks import svi, tables
from benchmarks.mnist import DATA, read
from benchmarks.timing import measure
from posterity.infer.objective import Objective
from posterity.networks import VAE

PIXELS, HIDDEN, LATENTS, BATCH = 784, 400, 50, 128
STEPS_A_TURN = 20
LEARNING_RATE = 1e-3
# What the ratios must be: ours over theirs.
TARGETS = {
    ("loss, eager", "by hand, eager"): 1.1,
    ("loss, torch.compile", "by hand, torch.compile"): 1.0,
    ("SVI, compiled", "by hand, torch.compile"): 1.0,
    ("SVI, compiled", "pyro"): 1 / 1.2,
    ("SVI, compiled", "numpyro update"): 1.0,
    ("SVI, compiled", "numpyro scan"): 1.0,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vae", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="how many turns each competitor has")
    parser.add_argument("--mnist", type=int, metavar="EPOCHS", help="train on MNIST instead, for so many epochs")
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.mnist is None:
        compare_steps(options.rounds)
    elif not (DATA / "mnist").is_dir():
        print(f"vae: skipped, there is no {DATA / 'mnist'}; set POSTERITY_DATA to the folder that holds it")
    else:
        train_on_mnist(options.mnist, options.objectives, options.test_images, options.seed)


class ByHand(nn.Module):
    """What a textbook has: two networks, the reparameterised draw, and the bound in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = networks()
        self.loc, self.log_variance = nn.Linear(HIDDEN, LATENTS), nn.Linear(HIDDEN, LATENTS)
        self.first = nn.Linear(LATENTS, HIDDEN)

    def loss(self, x: Tensor) -> Tensor:
        hidden = self.encoder(x)
        loc, log_variance = self.loc(hidden), self.log_variance(hidden)
        code = loc + torch.randn_like(loc) * (0.5 * log_variance).exp()
        fit = F.binary_cross_entropy_with_logits(self.decoder(self.first(code)), x, reduction="sum")
        divergence = -0.5 * (1 + log_variance - loc.square() - log_variance.exp()).sum()
        return (fit + divergence) / len(x)


def networks() -> tuple[nn.Module, nn.Module]:
    return (
        nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Softplus()),
        nn.Sequential(nn.Softplus(), nn.Linear(HIDDEN, PIXELS)),
    )


def compare_steps(rounds: int) -> None:
    x = (torch.rand(BATCH, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.13).float()
    peers = svi.vae(HIDDEN)
    steps: dict[str, Callable[[int], object]] = {
        "loss, eager": loop(ours := autoencoder(), ours.loss, x),
        "by hand, eager": loop(by_hand := ByHand(), by_hand.loss, x),
        "loss, torch.compile": loop(ours := autoencoder(), torch.compile(ours.loss, fullgraph=True), x),
        "by hand, torch.compile": loop(by_hand := ByHand(), torch.compile(by_hand.loss, fullgraph=True), x),
        "SVI, compiled": driver(autoencoder(), x),
        "pyro": peers.pyro(),
        "numpyro update": peers.numpyro(False),
        "numpyro scan": peers.numpyro(True),
    }
    for step in steps.values():
        step(STEPS_A_TURN)
    timings = measure(
        {who: (lambda take=take: take(STEPS_A_TURN)) for who, take in steps.items()}, rounds=rounds, turn=0.3
    )
    rows = []
    for (who, other), limit in TARGETS.items():
        ratio = timings.ratio(who, other)
        rows.append(
            (
                who,
                f"{timings.milliseconds(who) / STEPS_A_TURN:.2f}",
                other,
                f"{timings.milliseconds(other) / STEPS_A_TURN:.2f}",
                str(ratio),
                *tables.at_most(ratio, round(limit, 2)),
            )
        )
    tables.show(
        f"VAE {PIXELS}-{HIDDEN}-{LATENTS}, batch {BATCH}",
        ("ours", "ms", "beside", "ms", "ratio", "target", "met"),
        rows,
    )


def autoencoder() -> VAE:
    torch.manual_seed(0)
    return VAE(*networks(), hidden_size=HIDDEN, latent_size=LATENTS)


def loop(module: nn.Module, loss_of: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[int], object]:
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, fused=True)

    def take(number: int) -> None:
        for _ in range(number):
            optimizer.zero_grad()
            loss_of(x).backward()
            optimizer.step()

    return take


def driver(vae: VAE, x: Tensor) -> Callable[[int], object]:
    options = {"lr": LEARNING_RATE, "fused": True}
    run = pt.infer.SVI(vae.model, vae.guide, torch.optim.Adam, options, seed=0, progress=False, compile=True)
    return lambda number: run.run(number, x)


# Published test NLL after long training with one stochastic layer, 2 x 200 tanh, 50 latents (Burda et al., table 1).
OBJECTIVES: dict[str, tuple[Callable[[], Objective], float]] = {
    "VAE": (pt.infer.ELBO, 86.76),
    "IWAE-5": (lambda: pt.infer.IWAE(5, plate="data"), 85.54),
    "IWAE-50": (lambda: pt.infer.IWAE(50, plate="data"), 84.78),
}


class Binarised:
    """Batches of images, shuffled and drawn anew in each epoch: a pixel is on with its grey value as probability."""

    def __init__(self, images: Tensor, size: int, seed: int) -> None:
        self.images, self.size = images, size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.images) // self.size

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.images), generator=self.generator)
        for rows in order[: len(self) * self.size].split(self.size):
            yield torch.bernoulli(self.images[rows], generator=self.generator)


def train_on_mnist(epochs: int, objectives: Sequence[str], num_test: int, seed: int) -> None:
    images, _ = read("mnist", "train")
    test = torch.bernoulli(read("mnist", "t10k")[0][:num_test], generator=torch.Generator().manual_seed(seed))
    rows = []
    for name in objectives:
        make, published = OBJECTIVES[name]
        torch.manual_seed(seed)
        vae = VAE(
            nn.Sequential(nn.Linear(PIXELS, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()),
            nn.Sequential(nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, PIXELS)),
            hidden_size=200,
            latent_size=LATENTS,
        )
        with torch.no_grad():  # the pixels' mean log odds: the networks need not learn them
            on = images.mean(0).clamp(0.001, 0.999)
            vae.decoder[-1].bias.copy_(on.logit())
        batches = Binarised(images, 100, seed)
        total = epochs * len(batches)
        run = pt.infer.SVI(
            vae.model,
            vae.guide,
            torch.optim.Adam,
            {"lr": LEARNING_RATE, "fused": True},
            loss=make(),
            seed=seed,
            compile=True,
            scheduler=lambda optimizer, total=total: torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))) + 0.01
            ),
        )
        run.run_epochs(epochs, batches)
        bound = torch.stack([-vae.loss(part).detach() for part in test.split(500)]).mean()
        found = vae.log_likelihood(test, num_importance_samples=5000)
        error = found.std() / math.sqrt(num_test)
        rows.append((name, f"{epochs}", f"{-bound:.2f}", f"{-found.mean():.2f} +- {error:.2f}", f"{published:.2f}"))
    columns = ("objective", "epochs", "negative ELBO", "NLL, 5000 samples", "published, after some 3000 epochs")
    tables.show(f"MNIST, dynamic binarisation, {num_test} test images, seed {seed}", columns, rows)


if __name__ == "__main__":
    main()
