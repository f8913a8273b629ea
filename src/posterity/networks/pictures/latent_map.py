"""Where the codes of data lie, in two dimensions, and what the decoder makes of the places there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from posterity.networks.checks import check_count
from posterity.networks.pictures.images import as_images, draw_montage, grey_range, new_figure
from posterity.networks.vae import VAE
from posterity.runtime import eval_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LatentPlane(NamedTuple):
    """A plane through the codes of data.

    Attributes:
        points: `[batch, 2]`, the codes in the plane.
        axis_names: What the two directions are.
        ends: `[2, 2]`, least and greatest place of each direction that is decoded.
        images: `[num, num, height, width]` or with colours, decoded places; the first row has the greatest ordinate.
        grey: The values of black and of white.
    """

    points: Tensor
    axis_names: tuple[str, str]
    ends: Tensor
    images: Tensor
    grey: tuple[float, float]


def latent_map(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    labels: Sequence[Any] | Tensor | None = None,
    num: int = 12,
    image_shape: Sequence[int] | None = None,
) -> "Figure":
    """A picture of the codes of data, coloured by class, beside the data that the decoder makes of such places.

    With two latent variables these are the axes. With more, the axes are the two principal directions of the codes,
    and the places decoded lie in their plane through the codes' mean.

    Args:
        vae: The autoencoder.
        x: Data, `[batch, *data_shape]`.
        y: Their condition, where the model has one; places are decoded under that of the first datum.
        labels: What to colour the codes by, one for each datum. None: the classes in `y`, if it holds classes.
        num: How many places are decoded along each direction.
        image_shape: What each datum is, where data are vectors: `(height, width)` or `(1 or 3, height, width)`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: Data are no images, are fewer than 2, or have codes of one number; or labels are not one for each.
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure = new_figure(10, 5)
    draw_latent_map(figure, latent_plane(vae, x, y, num=num, image_shape=image_shape), label_names(x, y, labels))
    return figure


@torch.no_grad()
def latent_plane(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num: int = 12,
    image_shape: Sequence[int] | None = None,
) -> LatentPlane:
    """What `latent_map` draws."""
    check_count("latent_map", "num", num)
    if len(x) < 2:
        raise ValueError(f"latent_map: at least 2 data are needed, not {len(x)}")
    with eval_mode(vae):
        codes = vae.centre(vae.encode(x, y))
        shape = codes.shape[1:]
        codes = codes.flatten(1)
        if codes.shape[1] < 2:
            raise ValueError(
                "latent_map: a map needs a latent_size of at least 2; traversals() shows a single variable"
            )
        origin, directions, names = _axes(codes)
        points = (codes - origin) @ directions
        low, high = torch.quantile(points, 0.02, dim=0), torch.quantile(points, 0.98, dim=0)
        across, up = (torch.lerp(low[i], high[i], torch.linspace(0, 1, num).to(low)) for i in (0, 1))
        places = torch.cartesian_prod(up.flip(0), across).flip(1)
        decoded = vae.decode((origin + places @ directions.T).unflatten(1, shape), None if y is None else y[0])
        images = as_images(vae.likelihood.typical(decoded), image_shape)
    return LatentPlane(
        points.cpu(),
        names,
        torch.stack([low, high], 1).cpu(),
        images.unflatten(0, (num, num)),
        grey_range(vae, images),
    )


def draw_latent_map(figure: Any, plane: LatentPlane, labels: Sequence[str] | None) -> None:
    """Draw a plane into a figure or subfigure of matplotlib's."""
    from matplotlib import colormaps

    left, right = figure.subplots(1, 2)
    if labels is None:
        left.scatter(*plane.points.T.tolist(), s=8, alpha=0.7, linewidths=0)
    else:
        kinds = sorted(set(labels), key=lambda name: (len(name), name))
        colours = colormaps["tab10" if len(kinds) <= 10 else "turbo"]
        for at, kind in enumerate(kinds):
            rows = torch.tensor([label == kind for label in labels])
            colour = colours(at if len(kinds) <= 10 else at / (len(kinds) - 1))
            left.scatter(*plane.points[rows].T.tolist(), s=8, alpha=0.7, linewidths=0, color=colour, label=kind)
        if len(kinds) <= 20:
            left.legend(fontsize=8, markerscale=2, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    left.set(xlabel=plane.axis_names[0], ylabel=plane.axis_names[1])
    left.set_title("codes of the data", fontsize=10, loc="left")
    num = len(plane.images)
    draw_montage(right, plane.images, plane.grey)
    height, width = plane.images.shape[2:4]
    for axis, side, extent in ((right.set_xticks, 0, width), (right.set_yticks, 1, height)):
        ends = [f"{end:.1f}" for end in plane.ends[side].tolist()]
        axis([extent / 2, (num - 0.5) * extent + num - 1], ends if side == 0 else ends[::-1])
    right.set(xlabel=plane.axis_names[0], ylabel=plane.axis_names[1])
    right.set_title("decoded places", fontsize=10, loc="left")


def label_names(x: Tensor, y: Any, labels: Sequence[Any] | Tensor | None) -> list[str] | None:
    """What the codes are coloured by, in words; None for nothing."""
    if labels is None:
        of_classes = isinstance(y, Tensor) and y.dim() == 1 and len(y) == len(x) and not y.is_floating_point()
        if not of_classes:
            return None
        labels = y
    names = [str(label) for label in (labels.tolist() if isinstance(labels, Tensor) else labels)]
    if len(names) != len(x):
        raise ValueError(f"latent_map: labels must be one for each of the {len(x)} data, not {len(names)}")
    return names


def _axes(codes: Tensor) -> tuple[Tensor, Tensor, tuple[str, str]]:
    """A point of the plane, `[size]`, its two directions, `[size, 2]`, and their names."""
    if codes.shape[1] == 2:
        return torch.zeros_like(codes[0]), torch.eye(2, dtype=codes.dtype, device=codes.device), ("z1", "z2")
    origin = codes.mean(0)
    _, lengths, directions = torch.linalg.svd(codes - origin, full_matrices=False)
    shares = lengths.square() / lengths.square().sum().clamp(min=1e-30)
    first, second = (
        f"{which} principal direction ({100 * share:.0f} % of the codes' variance)"
        for which, share in zip(("first", "second"), shares[:2].tolist(), strict=True)
    )
    return origin, directions[:2].T, (first, second)
