"""Rows of images that show what an autoencoder has learnt: samples, reconstructions, traversals of its code."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from posterity.kernels import Generator
from posterity.kernels.random import split_source
from posterity.networks.checks import check_count
from posterity.networks.conditional_vae import ConditionalVAE
from posterity.networks.latent_families import BernoulliFamily, CategoricalFamily, RelaxedBernoulliFamily
from posterity.networks.pictures.images import as_images, draw_montage, grey_range, new_figure
from posterity.networks.pictures.information import DEAD, latent_information
from posterity.networks.vae import VAE
from posterity.runtime import eval_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCH_A_ROW, _INCH_A_COLUMN = 0.55, 0.55


class Grid(NamedTuple):
    """Rows of images with their names.

    Attributes:
        images: `[rows, columns, height, width]`, or with a last dimension of 3 colours.
        grey: The values of black and of white.
        row_names: One for each row, or none.
        title: What is seen.
    """

    images: Tensor
    grey: tuple[float, float]
    row_names: Sequence[str]
    title: str

    def draw(self, figure: Any) -> None:
        """Draw into a figure or subfigure of matplotlib's."""
        axes = figure.subplots()
        draw_montage(axes, self.images, self.grey, self.row_names)
        axes.set_title(self.title, fontsize=10, loc="left")

    def figure(self) -> "Figure":
        """A figure of its own."""
        rows, columns, height, width = self.images.shape[:4]
        names = 0.09 * max((len(name) for name in self.row_names), default=0)
        figure = new_figure(max(3.0, _INCH_A_COLUMN * columns + names + 0.4), _INCH_A_ROW * rows * height / width + 0.6)
        self.draw(figure)
        return figure


def samples(
    vae: VAE,
    num: int = 10,
    y: Any = None,
    *,
    draw: bool = False,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> "Figure":
    """A picture of new data: a row for each class or condition, whose columns share a code.

    Args:
        vae: The autoencoder.
        num: How many images a row has; without conditions there are as many rows.
        y: The rows' conditions, where the model has one. None: all classes.
        draw: Whether to draw the data too; otherwise they are the decoder's means.
        image_shape: What each datum is, where data are vectors: `(height, width)` or `(1 or 3, height, width)`.
        generator: Where the noise comes from; None: torch's global generator.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: Data are no images, or conditions are missing.
        ModuleNotFoundError: matplotlib is not installed.

    Example:
        >>> from torch import nn
        >>> vae = VAE(nn.Linear(64, 4), nn.Linear(4, 64), hidden_size=4, latent_size=2)
        >>> samples(vae, 5, image_shape=(8, 8)).savefig("samples.png")  # doctest: +SKIP
    """
    return sample_grid(vae, num, y, draw=draw, image_shape=image_shape, generator=generator).figure()


@torch.no_grad()
def sample_grid(
    vae: VAE,
    num: int = 10,
    y: Any = None,
    *,
    draw: bool = False,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> Grid:
    """What `samples` draws."""
    check_count("samples", "num", num)
    classes = vae.num_classes if isinstance(vae, ConditionalVAE) else None
    if y is None and classes is not None:
        y = torch.arange(classes)
    if y is not None and (not isinstance(y, Tensor) or y.dim() == 0):
        y = torch.as_tensor(y).reshape(-1)
    if y is None and vae.condition_size:
        raise ValueError("samples: y must hold a condition for each row, [rows, condition_size]")
    rows = num if y is None else len(y)
    with eval_mode(vae):
        number = (num, num) if y is None else (num,)
        first, second = split_source(generator)
        code = vae.prior_distribution().sample(number, generator=first)
        given = None
        if y is None:
            code = code.flatten(0, 1)
        else:
            code = code.repeat(rows, *[1] * (code.dim() - 1))
            given = y.to(code.device).repeat_interleave(num, 0)
        data = vae.decode(code, given)
        found = data.sample(generator=second) if draw else vae.likelihood.typical(data)
    images = as_images(found, image_shape)
    names = [str(int(label)) for label in y] if y is not None and classes is not None else []
    title = "samples" if y is None else "samples; a column has one code"
    return Grid(images.unflatten(0, (rows, num)), grey_range(vae, images), names, title)


def reconstructions(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num: int = 10,
    draw: bool = False,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> "Figure":
    """A picture of data and, below them, what comes back from their codes.

    Args:
        vae: The autoencoder.
        x: Data, `[batch, *data_shape]`, of which the first are shown.
        y: Their condition, where the model has one.
        num: How many are shown.
        draw: Whether to draw codes and data; otherwise means are taken of both.
        image_shape: What each datum is, where data are vectors: `(height, width)` or `(1 or 3, height, width)`.
        generator: Where the noise comes from; None: torch's global generator.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: Data are no images.
        ModuleNotFoundError: matplotlib is not installed.
    """
    return reconstruction_grid(vae, x, y, num=num, draw=draw, image_shape=image_shape, generator=generator).figure()


def reconstruction_grid(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num: int = 10,
    draw: bool = False,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> Grid:
    """What `reconstructions` draws."""
    check_count("reconstructions", "num", num)
    before = as_images(x[:num], image_shape)
    after = as_images(vae.reconstruct(*_first(x, y, num), draw=draw, generator=generator), image_shape)
    images = torch.stack([before, after])
    return Grid(images, grey_range(vae, images), ["data", "from code"], "reconstructions")


def traversals(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num: int = 9,
    most: int = 10,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> "Figure":
    """A picture of each latent variable swept over its range while the others stay as they are for the first datum.

    The most telling variable comes first. Real variables go from two standard deviations below the mean of the data's
    codes to two above; bits and classes take each of their values. A variable that tells less than 0.01 nats is dead:
    the decoder has no use for it, and its row shows one image over and over.

    Args:
        vae: The autoencoder.
        x: Data to find the ranges and the information from, `[batch, *data_shape]`.
        y: Their condition, where the model has one.
        num: How many steps a sweep has.
        most: How many variables are shown at most.
        image_shape: What each datum is, where data are vectors: `(height, width)` or `(1 or 3, height, width)`.
        generator: Where draws come from; None: torch's global generator.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: Data are no images, or fewer than 2.
        ModuleNotFoundError: matplotlib is not installed.
    """
    return traversal_grid(vae, x, y, num=num, most=most, image_shape=image_shape, generator=generator).figure()


@torch.no_grad()
def traversal_grid(
    vae: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num: int = 9,
    most: int = 10,
    image_shape: Sequence[int] | None = None,
    generator: Generator = None,
) -> Grid:
    """What `traversals` draws."""
    check_count("traversals", "num", num)
    check_count("traversals", "most", most)
    if len(x) < 2:
        raise ValueError(f"traversals: at least 2 data are needed to see how codes vary, not {len(x)}")
    told = latent_information(vae, x, y, generator=generator)
    order = told.argsort(descending=True, stable=True)[:most].tolist()
    with eval_mode(vae):
        codes = vae.encode(x, y)
        draws = codes.sample(generator=generator)
        first = vae.centre(codes)[0] if codes.has_rsample else draws[0]
        steps = {d: _steps(vae, draws[:, d], num) for d in order}
        swept = torch.cat([_with(first, d, values) for d, values in steps.items()])
        shown = vae.likelihood.typical(vae.decode(swept, None if y is None else y[0]))
    images = as_images(shown, image_shape)
    dead = int((told < DEAD).sum())
    names = [f"z{d + 1}: {'dead' if told[d] < DEAD else f'{told[d]:.2f} nats'}" for d in order]
    title = "traversals" + (f"; {dead} of {len(told)} latent variables dead" if dead else "")
    return Grid(images.unflatten(0, (len(order), -1)), grey_range(vae, images), names, title)


def _steps(vae: VAE, draws: Tensor, num: int) -> Tensor:
    if isinstance(vae.family, CategoricalFamily):
        return torch.eye(vae.family.num_categories, dtype=draws.dtype, device=draws.device)
    if isinstance(vae.family, BernoulliFamily | RelaxedBernoulliFamily):
        return torch.tensor([0.0, 1.0], dtype=draws.dtype, device=draws.device)
    return draws.mean() + draws.std() * torch.linspace(-2, 2, num, dtype=draws.dtype, device=draws.device)


def _with(code: Tensor, at: int, values: Tensor) -> Tensor:
    codes = code.expand(len(values), *code.shape).clone()
    codes[:, at] = values
    return codes


def _first(x: Tensor, y: Tensor | None, num: int) -> tuple[Tensor, Tensor | None]:
    shared = y is None or not isinstance(y, Tensor) or y.dim() == 0 or len(y) != len(x)
    return x[:num], y if shared or y is None else y[:num]
