"""How much each latent variable says of data: what tells the used ones from the dead ones."""

import torch
from torch import Tensor

from posterity.distributions import Independent, kl_divergence
from posterity.distributions.kl import has_closed_form
from posterity.kernels import Generator
from posterity.networks.vae import VAE
from posterity.runtime import eval_mode

# Below so many nats a latent variable is called dead.
DEAD = 0.01
_DRAWS = 64


@torch.no_grad()
def latent_information(vae: VAE, x: Tensor, y: Tensor | None = None, *, generator: Generator = None) -> Tensor:
    r"""How many nats each latent variable tells of a datum, on average.

    Where posterior and prior are independent variables, it is the KL divergence between those of each, the mean over
    the data: their sum is the bound's second term. Under a learnt prior or a flow the KL does not fall apart; it is
    then what a normal variable of the same signal and noise would tell, $\frac12 \log(\mathrm{Var}[z_d] / \mathrm{E}\,
    \mathrm{Var}[z_d \mid x])$, estimated from draws.

    Args:
        vae: The autoencoder.
        x: Data, `[batch, *data_shape]`; without closed forms at least 2.
        y: Their condition, where the model has one.
        generator: Where draws come from; None: torch's global generator.

    Returns:
        `[latent_size]`, in nats.

    Raises:
        ValueError: There are too few data.

    Source: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders", section 5.2, on units that are
    not active.

    Example:
        >>> from torch import nn
        >>> vae = VAE(nn.Linear(6, 4), nn.Linear(4, 6), hidden_size=4, latent_size=3)
        >>> latent_information(vae, torch.rand(20, 6).bernoulli()).shape
        torch.Size([3])
    """
    if not len(x):
        raise ValueError("latent_information: there are no data")
    with eval_mode(vae):
        codes, prior = vae.encode(x, y), vae.prior_distribution()
        if isinstance(codes, Independent) and isinstance(prior, Independent) and has_closed_form(codes, prior):
            each = kl_divergence(codes.base_dist, prior.base_dist)
            if each.shape == (len(x), vae.latent_size):
                return each.mean(0)
        if len(x) < 2:
            raise ValueError("latent_information: at least 2 data are needed to tell signal from noise")
        draws = codes.sample((_DRAWS,), generator=generator)
        noise = draws.var(0).mean(0)
        told = (draws.flatten(0, 1).var(0) / noise).log().clamp(min=0) / 2
        # A categorical variable's is that of its most telling class.
        return told.nan_to_num(0.0).flatten(1).amax(1) if told.dim() > 1 else told.nan_to_num(0.0)
