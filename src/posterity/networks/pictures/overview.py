"""All pictures of an autoencoder in one figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posterity.kernels import Generator
from posterity.networks.conditional_vae import ConditionalVAE
from posterity.networks.pictures.grids import reconstruction_grid, sample_grid, traversal_grid
from posterity.networks.pictures.images import new_figure
from posterity.networks.pictures.latent_map import draw_latent_map, label_names, latent_plane
from posterity.networks.vae import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> "Figure":
    """Samples, reconstructions, traversals and the latent map of an autoencoder in one figure.

    Args:
        vae: The autoencoder.
        x: Data, `[batch, *data_shape]`; some hundreds that it was not trained on show most.
        y: Their condition, where the model has one.
        image_shape: What each datum is, where data are vectors: `(height, width)` or `(1 or 3, height, width)`.
        generator: Where the noise comes from; None: torch's global generator.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: Data are no images, or fewer than 2.
        ModuleNotFoundError: matplotlib is not installed.

    Example:
        >>> from torch import nn
        >>> vae = VAE(nn.Linear(64, 4), nn.Linear(4, 64), hidden_size=4, latent_size=2)
        >>> figure = overview(vae, torch.rand(30, 64).bernoulli(), image_shape=(8, 8))
        >>> figure.savefig("vae.png")  # doctest: +SKIP
    """
    has_classes = isinstance(vae, ConditionalVAE) and vae.num_classes is not None
    rows = None if has_classes or y is None else torch.atleast_2d(y)[:5]
    grids = [
        sample_grid(vae, 10, rows, image_shape=image_shape, generator=generator),
        traversal_grid(vae, x, y, image_shape=image_shape, generator=generator),
        reconstruction_grid(vae, x, y, num=16, image_shape=image_shape, generator=generator),
    ]
    plane = latent_plane(vae, x, y, image_shape=image_shape) if vae.latent_size > 1 else None
    figure = new_figure(11, 7.5 if plane is None else 13)
    heights = [5.5, 2] if plane is None else [5.5, 2, 5.5]
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    upper = parts[0].subfigures(1, 2, squeeze=False)[0]
    for place, grid in zip((*upper, parts[1]), grids, strict=True):
        grid.draw(place)
    if plane is not None:
        draw_latent_map(parts[2], plane, label_names(x, y, None))
    return figure
