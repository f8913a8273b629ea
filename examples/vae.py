"""A variational autoencoder (Kingma and Welling 2014) on scikit-learn's digits.

Shows networks in model and guide through `pt.module`, a plate of which each step sees a batch, and `run_epochs` over a
`DataLoader`. The bound on digits held out is compared with what pixels say that know nothing of each other.
"""

import argparse
from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import posterity as pt

dist = pt.distributions

NUM_PIXELS, NUM_CODES, WIDTH = 64, 8, 128


class Encoder(nn.Module):
    """From images to where their codes lie."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(NUM_PIXELS, WIDTH), nn.ReLU())
        self.loc, self.log_scale = nn.Linear(WIDTH, NUM_CODES), nn.Linear(WIDTH, NUM_CODES)

    def forward(self, x: Tensor) -> dist.Distribution:
        """The codes' distribution, one event an image."""
        hidden = self.hidden(x)
        return dist.Normal(self.loc(hidden), self.log_scale(hidden).exp()).to_event(1)


class DigitVAE:
    """A model and its guide over `num_images` images, of which a call sees a batch."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images
        self.encoder = Encoder()
        self.decoder = nn.Sequential(nn.Linear(NUM_CODES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, NUM_PIXELS))

    def model(self, x: Tensor) -> None:
        """Codes are standard normal; pixels are on or off."""
        decoder = pt.module("decoder", self.decoder)
        with pt.plate("images", self.num_images, subsample_size=len(x)):
            code = pt.sample("code", dist.Normal(0.0, 1.0).expand([NUM_CODES]).to_event(1))
            pt.sample("x", dist.Bernoulli(logits=decoder(code)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """Codes given images."""
        encoder = pt.module("encoder", self.encoder)
        with pt.plate("images", self.num_images, subsample_size=len(x)):
            pt.sample("code", encoder(x))


def binary_digits() -> tuple[Tensor, Tensor]:
    """Digits for training and digits held out, pixels on or off."""
    x = torch.tensor(load_digits().data > 7, dtype=torch.float32)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    return x[:1500], x[1500:]


def picture(image: Tensor) -> list[str]:
    """An image as eight lines of text."""
    return ["".join(" .:*#"[min(int(5 * p), 4)] for p in row) for row in image.reshape(8, 8).tolist()]


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train, report the bound in nats an image, and show digits that the network dreams of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=120)
    epochs = parser.parse_args(arguments).epochs
    torch.manual_seed(0)
    train, test = binary_digits()

    vae = DigitVAE(len(train))
    loader = DataLoader(TensorDataset(train), batch_size=100, shuffle=True)
    svi = pt.infer.SVI(vae.model, vae.guide, torch.optim.Adam, {"lr": 3e-3}, seed=0)
    losses = svi.run_epochs(epochs, loader).losses

    on = train.mean(0).clamp(0.01, 0.99)
    independent = -dist.Bernoulli(on).log_prob(test).sum(-1).mean()
    bound = sum(svi.evaluate(test) for _ in range(10)) / 10 / len(train)
    print(f"nats per digit held out: independent pixels {independent:.2f}, autoencoder at most {bound:.2f}")
    codes = torch.randn(6, NUM_CODES, generator=torch.Generator().manual_seed(1))
    dreams = [picture(image) for image in vae.decoder(codes).sigmoid().detach()]
    print("digits from the prior:")
    print("\n".join("   ".join(lines) for lines in zip(*dreams, strict=True)))
    return {
        "bound": bound,
        "independent": float(independent),
        "loss_fell_by": float(losses[:15].mean() - losses[-15:].mean()) / len(train),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
