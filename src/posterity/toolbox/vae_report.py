"""The report of an autoencoder of images: one HTML page with its figures, samples, reconstructions and codes.

The page holds its pictures and its style itself and asks no network for anything. jinja2 and matplotlib are
imported when a page is made.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from posterity._version import __version__
from posterity.kernels import Generator
from posterity.networks import VAE
from posterity.networks.pictures.grids import Grid, reconstruction_grid, sample_grid, traversal_grid
from posterity.networks.pictures.images import montage
from posterity.networks.pictures.information import DEAD, latent_information
from posterity.networks.pictures.latent_map import LatentPlane, label_names, latent_plane
from posterity.networks.pictures.live_loss import draw_losses
from posterity.toolbox.page import BAYESIAN, GRID, INK, KINDS, new_figure, png, restrain, svg, template

_COLUMNS = 16
_MOST_MAPPED = 1000


class Measure(NamedTuple):
    """A figure of merit.

    Attributes:
        name: What is measured.
        meaning: What that says, in a sentence for somebody who doesn't know the name.
        value: The figure, in words.
        note: What stands behind it, such as an interval; may be empty.
        target: What was meant to be reached, in words; may be empty.
        target_met: Whether it was; None without a target.
    """

    name: str
    meaning: str
    value: str
    note: str = ""
    target: str = ""
    target_met: bool | None = None


class _Strip(NamedTuple):
    """A row of images with its name."""

    name: str
    note: str
    image: str
    alt: str


def render_vae_report(
    *,
    title: str,
    summary: str,
    measures: Sequence[Measure],
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    image_shape: Sequence[int] | None = None,
    losses: Tensor | None = None,
    generator: Generator = None,
) -> str:
    """Make the page of an autoencoder of images.

    Args:
        title: The page's heading.
        summary: What was done to which data, in a sentence or two.
        measures: The rows of the table of figures.
        vae: The trained autoencoder.
        x: Test images, `[batch, *data_shape]`; the first are shown.
        y: Their condition, where the model has one.
        image_shape: What each datum is, where data are vectors: `(height, width)` or `(1 or 3, height, width)`.
        losses: `[steps]`, the training's losses; None: no curve.
        generator: Where the noise comes from; None: torch's global generator.

    Returns:
        A self-contained HTML document.

    Raises:
        ValueError: If data are no images or fewer than 2, or the condition doesn't fit them.
        ModuleNotFoundError: If jinja2 or matplotlib isn't installed.

    Example:
        >>> from torch import nn
        >>> vae = VAE(nn.Linear(64, 4), nn.Linear(4, 64), hidden_size=4, latent_size=2)
        >>> page = render_vae_report(title="Noise", summary="Thirty images.", measures=[], vae=vae,
        ...                          x=torch.rand(30, 64).bernoulli(), image_shape=(8, 8))
        >>> page.splitlines()[0]
        '<!doctype html>'
    """
    page = template("vae_report.html")
    names = label_names(x, y, None)
    rows = None if names is not None or y is None else torch.atleast_2d(y)[:5]
    samples = sample_grid(vae, _COLUMNS, rows, image_shape=image_shape, generator=generator)
    reconstructed = reconstruction_grid(vae, x, y, num=_COLUMNS, image_shape=image_shape, generator=generator)
    swept = traversal_grid(vae, x, y, num=_COLUMNS, image_shape=image_shape, generator=generator)
    told = latent_information(vae, x, y, generator=generator)
    plane = latent_plane(vae, x, y, image_shape=image_shape) if vae.latent_size > 1 else None
    if plane is None:
        mapped = places = ""
    else:
        mapped, places = _map(plane, names), png(montage(plane.images, plane.grey))
    text: str = page.render(
        title=title,
        summary=summary,
        measures=measures,
        samples=_strips(samples, "Generated images"),
        reconstructions=_strips(reconstructed, "Test images"),
        traversals=_strips(swept, "Images along latent variable"),
        dead=int((told < DEAD).sum()),
        latent_size=vae.latent_size,
        map=mapped,
        places=places,
        num_mapped=min(len(x), _MOST_MAPPED),
        has_classes=names is not None,
        shown_class="" if names is None else names[0],
        losses="" if losses is None else _curve(losses),
        version=__version__,
    )
    return text


def _strips(grid: Grid, what: str) -> list[_Strip]:
    names = grid.row_names or [""] * len(grid.images)
    strips = []
    for name, row in zip(names, grid.images, strict=True):
        head, _, note = name.partition(": ")
        strips.append(_Strip(head, note, png(montage(row.unsqueeze(0), grid.grey)), f"{what}: {name or 'a row'}"))
    return strips


def _map(plane: LatentPlane, names: Sequence[str] | None) -> str:
    figure = new_figure(5.0, 5.0)
    axes = figure.subplots()
    shown = plane.points[:_MOST_MAPPED]
    if names is None:
        across, up = shown.T.tolist()
        axes.scatter(across, up, s=12, color=BAYESIAN, linewidths=0)
    else:
        for at, kind in enumerate(sorted(set(names), key=lambda name: (len(name), name))):
            rows = torch.tensor([name == kind for name in names[:_MOST_MAPPED]])
            marker = f"${kind}$" if len(kind) == 1 and kind.isalnum() else "o"
            colour = KINDS[at % len(KINDS)]
            across, up = shown[rows].T.tolist()
            axes.scatter(across, up, s=34, marker=marker, color=colour, linewidths=0)
    axes.set(xlabel=plane.axis_names[0], ylabel=plane.axis_names[1])
    restrain(axes)
    return svg(figure, "map", f"The codes of {len(shown)} test images in two dimensions.")


def _curve(losses: Tensor) -> str:
    figure = new_figure()
    axes = figure.subplots()
    draw_losses(axes, losses, GRID, BAYESIAN)
    restrain(axes)
    for text in axes.texts:
        text.set_color(INK)
    label = f"The training's loss over {len(losses)} steps, from {losses[0]:.4g} to {losses[-1]:.4g} nats."
    return svg(figure, "losses", label)
