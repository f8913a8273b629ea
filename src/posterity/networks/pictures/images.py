"""Data as images: what their shape says, and many of them side by side in one."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from posterity.networks.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretizedLogisticLikelihood,
)
from posterity.networks.vae import VAE

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def as_images(data: Tensor, image_shape: Sequence[int] | None = None) -> Tensor:
    """Data in the order in which pixels are drawn.

    Args:
        data: `[batch, height, width]`, `[batch, 1 or 3, height, width]`, or of any shape with `image_shape`.
        image_shape: What each datum is: `(height, width)` or `(1 or 3, height, width)`.

    Returns:
        `[batch, height, width]`, or `[batch, height, width, 3]` for colours; on the CPU.

    Raises:
        ValueError: Data are no images, or `image_shape` does not fit them.

    Example:
        >>> as_images(torch.zeros(5, 3, 8, 6)).shape, as_images(torch.zeros(5, 64), (8, 8)).shape
        (torch.Size([5, 8, 6, 3]), torch.Size([5, 8, 8]))
    """
    shape = tuple(data.shape[1:]) if image_shape is None else tuple(image_shape)
    if image_shape is not None and math.prod(shape) != math.prod(data.shape[1:]):
        raise ValueError(
            f"image_shape {shape} has {math.prod(shape)} numbers, but each datum has shape {tuple(data.shape[1:])}"
        )
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, 3)) or 0 in shape:
        if image_shape is not None:
            raise ValueError(f"image_shape must be (height, width) or (1 or 3, height, width), not {shape}")
        raise ValueError(
            f"data of shape {shape} are no images [height, width] or [1 or 3, height, width]: for images stored as "
            "vectors give image_shape=(height, width)"
        )
    images = data.detach().cpu().to(torch.get_default_dtype()).reshape(-1, *shape)
    if len(shape) == 2:
        return images
    return images.squeeze(1) if shape[0] == 1 else images.movedim(1, -1)


def grey_range(vae: VAE, *images: Tensor) -> tuple[float, float]:
    """What is black and what is white: the ends of the likelihood's values, or of the images where it has none."""
    likelihood = vae.likelihood
    if isinstance(likelihood, BernoulliLikelihood | ContinuousBernoulliLikelihood):
        return 0.0, 1.0
    if isinstance(likelihood, DiscretizedLogisticLikelihood):
        return 0.0, likelihood.levels - 1.0
    black, white = (float(end) for end in torch.cat([part.flatten() for part in images]).aminmax())
    return black, white if white > black else black + 1.0


def montage(images: Tensor, grey: tuple[float, float]) -> "np.ndarray[Any, Any]":
    """Rows of images as one, with transparent gaps between them.

    Args:
        images: `[rows, columns, height, width]`, or with a last dimension of 3 colours.
        grey: The values of black and of white.

    Returns:
        An array `[pixels, pixels, 4]` of bytes: red, green, blue, opacity.

    Example:
        >>> montage(torch.zeros(2, 3, 8, 8), (0.0, 1.0)).shape
        (17, 26, 4)
    """
    black, white = grey
    if images.dim() == 4:
        images = images.unsqueeze(-1).expand(*images.shape, 3)
    rows, columns, height, width, _ = images.shape
    gap = gap_of(height, width)
    canvas = torch.zeros(rows, height + gap, columns, width + gap, 4, dtype=torch.uint8)
    bytes_ = (255 * (images - black) / (white - black)).nan_to_num(0).clamp(0, 255).round().to(torch.uint8)
    canvas[:, :height, :, :width, :3] = bytes_.movedim(1, 2)
    canvas[:, :height, :, :width, 3] = 255
    whole = canvas.reshape(rows * (height + gap), columns * (width + gap), 4)
    return whole[:-gap, :-gap].numpy()


def gap_of(height: int, width: int) -> int:
    """How many pixels lie between two images of a montage."""
    return max(1, min(height, width) // 14)


def draw_montage(
    axes: "Axes",
    images: Tensor,
    grey: tuple[float, float],
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
) -> None:
    """Draw rows of images, `[rows, columns, height, width]` or with colours, with names beside and below them."""
    height, width = images.shape[2:4]
    gap = gap_of(height, width)
    axes.imshow(montage(images, grey), interpolation="nearest")
    axes.set_yticks([row * (height + gap) + (height - 1) / 2 for row in range(len(row_names))], list(row_names))
    axes.set_xticks([at * (width + gap) + (width - 1) / 2 for at in range(len(column_names))], list(column_names))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches, which belongs to no window.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'posterity[plot]'", name=missing.name
        ) from missing
    return Figure(figsize=(width, height), layout="constrained")
