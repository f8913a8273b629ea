"""Pictures of autoencoders show what they say: rows of classes, data and codes, sweeps in the order of information."""

import math
import sys

import pytest
import torch
from torch import nn

import posterity as pt
from posterity.networks import VAE, CategoricalFamily, ConditionalVAE
from posterity.networks.pictures import latent_information, latent_map, overview, reconstructions, samples, traversals
from posterity.networks.pictures.grids import reconstruction_grid, sample_grid, traversal_grid
from posterity.networks.pictures.images import as_images, grey_range, montage
from posterity.networks.pictures.latent_map import latent_plane

pytest.importorskip("matplotlib")
SIDE, WIDTH = 6, 5


class Flat(nn.Module):
    """An encoder of images of any shape, with a class beside them or not."""

    def __init__(self, inputs: int):
        super().__init__()
        self.layer = nn.Linear(inputs, WIDTH)

    def forward(self, x, condition=None):
        x = x.flatten(1)
        return self.layer(x if condition is None else torch.cat([x, condition], -1)).tanh()


def autoencoder(shape=(SIDE * SIDE,), latent_size=3, num_classes=None, **options) -> VAE:
    pixels = math.prod(shape)
    encoder = Flat(pixels + (num_classes or options.get("condition_size", 0)))
    decoder = nn.Sequential(nn.Linear(WIDTH, pixels), nn.Unflatten(1, shape))
    if num_classes is None and "condition_size" not in options:
        return VAE(encoder, decoder, WIDTH, latent_size, **options)
    return ConditionalVAE(encoder, decoder, WIDTH, latent_size, num_classes, **options)


def bits(number=30, shape=(SIDE * SIDE,)) -> torch.Tensor:
    return (torch.rand(number, *shape) < 0.4).float()


@pytest.mark.parametrize(
    ("shape", "image_shape", "expected"),
    [
        ((6, 5), None, (2, 6, 5)),
        ((1, 6, 5), None, (2, 6, 5)),
        ((3, 6, 5), None, (2, 6, 5, 3)),
        ((30,), (6, 5), (2, 6, 5)),
        ((90,), (3, 6, 5), (2, 6, 5, 3)),
    ],
)
def test_the_shape_of_data_says_what_image_they_are(shape, image_shape, expected):
    data = torch.rand(2, *shape)
    images = as_images(data, image_shape)
    assert images.shape == expected
    # Pixels keep their places: the last row's last pixel in the first colour.
    last = data.reshape(2, -1, 6, 5)[:, 0, -1, -1]
    assert torch.equal(images.reshape(2, 6, 5, -1)[:, -1, -1, 0], last)


@pytest.mark.parametrize(
    ("shape", "image_shape", "message"),
    [
        ((36,), None, r"data of shape \(36,\) are no images .* give image_shape=\(height, width\)"),
        ((2, 6, 6), None, r"data of shape \(2, 6, 6\) are no images"),
        ((36,), (5, 7), r"image_shape \(5, 7\) has 35 numbers, but each datum has shape \(36,\)"),
        ((36,), (36,), r"image_shape must be \(height, width\) or \(1 or 3, height, width\), not \(36,\)"),
    ],
)
def test_what_is_no_image_is_said(shape, image_shape, message):
    with pytest.raises(ValueError, match=message):
        as_images(torch.zeros(2, *shape), image_shape)


def test_a_montage_keeps_each_image_and_leaves_the_gaps_transparent():
    images = torch.rand(2, 3, 4, 5)
    canvas = torch.from_numpy(montage(images, (0.0, 1.0)))
    assert canvas.shape == (9, 17, 4)
    assert torch.equal(canvas[5:, 12:, 0], (255 * images[1, 2]).round().to(torch.uint8))
    assert (canvas[4, :, 3] == 0).all()
    assert (canvas[:, 5, 3] == 0).all()
    assert int((canvas[..., 3] == 255).sum()) == images.numel()


def test_black_and_white_are_the_ends_of_the_likelihood():
    images = torch.tensor([[0.2, 0.6]])
    assert grey_range(autoencoder(), images) == (0.0, 1.0)
    assert grey_range(autoencoder(likelihood="discretized_logistic"), images) == (0.0, 255.0)
    assert grey_range(autoencoder(likelihood="gaussian"), images) == pytest.approx((0.2, 0.6))
    assert grey_range(autoencoder(likelihood="gaussian"), torch.zeros(3)) == (0.0, 1.0)


def test_samples_have_a_row_for_each_class_and_a_code_for_each_column():
    vae = autoencoder(num_classes=4)
    with torch.no_grad():
        vae.from_code.weight[:, -4:] = 0.0  # the class is not heard, so all rows are the same
    grid = sample_grid(vae, 7, image_shape=(SIDE, SIDE))
    assert grid.images.shape == (4, 7, SIDE, SIDE)
    assert list(grid.row_names) == ["0", "1", "2", "3"]
    torch.testing.assert_close(grid.images, grid.images[:1].expand_as(grid.images))
    assert not torch.allclose(grid.images[:, 0], grid.images[:, 1])
    chosen = sample_grid(vae, 2, torch.tensor([3, 1]), image_shape=(SIDE, SIDE), draw=True)
    assert (chosen.images.shape, list(chosen.row_names)) == ((2, 2, SIDE, SIDE), ["3", "1"])
    assert set(chosen.images.unique().tolist()) <= {0.0, 1.0}


def test_samples_without_classes_fill_a_square_and_vectors_of_conditions_make_rows():
    assert sample_grid(autoencoder(), 4, image_shape=(SIDE, SIDE)).images.shape == (4, 4, SIDE, SIDE)
    vae = autoencoder(condition_size=2)
    assert sample_grid(vae, 4, torch.rand(3, 2), image_shape=(SIDE, SIDE)).images.shape == (3, 4, SIDE, SIDE)
    with pytest.raises(ValueError, match="y must hold a condition for each row"):
        samples(vae, image_shape=(SIDE, SIDE))


def test_reconstructions_stand_below_their_data():
    vae, x = autoencoder(), bits()
    grid = reconstruction_grid(vae, x, num=5, image_shape=(SIDE, SIDE))
    assert torch.equal(grid.images[0], x[:5].unflatten(1, (SIDE, SIDE)))
    torch.testing.assert_close(grid.images[1], vae.reconstruct(x[:5]).unflatten(1, (SIDE, SIDE)))


def test_information_is_the_divergence_of_each_variable():
    vae, x = autoencoder(), bits()
    told = latent_information(vae, x)
    codes = vae.encode(x).base_dist
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(codes.loc, codes.scale), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(told, expected.mean(0))


def test_information_under_a_learnt_prior_is_that_of_signal_and_noise():
    vae, x = autoencoder(prior=pt.networks.MixturePrior(3, 3)), bits(2000)
    with torch.no_grad():
        vae.to_code.weight.zero_()
        vae.to_code.bias.zero_()
        vae.to_code.weight[0, 0] = 5.0
    told = latent_information(vae, x)
    signal = vae.encode(x).base_dist.loc[:, 0].var().item()
    # The noise has variance 1; a variance from 2000 x 64 draws is within 6 sqrt(2 / 128000) = 2.4 % of its own.
    assert told[0].item() == pytest.approx(0.5 * math.log(1 + signal), abs=0.03)
    assert told[1:].max() < 0.02


def test_traversals_show_the_most_telling_variable_first_and_name_the_dead():
    vae, x = autoencoder(latent_size=4), bits()
    with torch.no_grad():
        vae.to_code.weight.zero_()
        vae.to_code.bias.zero_()
        vae.to_code.weight[2] = 2.0
        vae.to_code.weight[0] = 0.5
        vae.from_code.weight[:, 3] = 0.0
    grid = traversal_grid(vae, x, num=5, image_shape=(SIDE, SIDE))
    names = [name.split(":")[0] for name in grid.row_names]
    assert names == ["z3", "z1", "z2", "z4"]
    assert [name.endswith("dead") for name in grid.row_names] == [False, False, True, True]
    assert grid.title == "traversals; 2 of 4 latent variables dead"
    # A variable without a way into the decoder changes nothing; one with a way does.
    torch.testing.assert_close(grid.images[3, 0], grid.images[3, -1])
    assert not torch.allclose(grid.images[0, 0], grid.images[0, -1])
    assert len(traversal_grid(vae, x, most=2, image_shape=(SIDE, SIDE)).images) == 2


@pytest.mark.parametrize(
    ("posterior", "columns"),
    [("bernoulli", 2), ("relaxed_bernoulli", 2), (CategoricalFamily(4), 4), (pt.bijectors.RealNVP(3, 2, (8,)), 9)],
    ids=["bits", "relaxed bits", "classes", "flow"],
)
def test_bits_and_classes_are_swept_over_their_values(posterior, columns):
    grid = traversal_grid(autoencoder(posterior=posterior), bits(), image_shape=(SIDE, SIDE))
    assert grid.images.shape == (3, columns, SIDE, SIDE)


def test_a_map_of_two_variables_has_them_as_axes():
    vae, x = autoencoder(latent_size=2), bits(200)
    plane = latent_plane(vae, x, num=3, image_shape=(SIDE, SIDE))
    torch.testing.assert_close(plane.points, vae.encode(x).mean.detach())
    assert plane.axis_names == ("z1", "z2")
    # The first row is the map's upper edge, its first column the left one.
    corner = torch.stack([plane.ends[0, 0], plane.ends[1, 1]])
    torch.testing.assert_close(plane.images[0, 0].flatten(), vae.decode(corner).mean.detach())


def test_a_map_of_more_variables_has_the_principal_directions():
    vae, x = autoencoder(latent_size=5), bits(200)
    plane = latent_plane(vae, x, num=2, image_shape=(SIDE, SIDE))
    codes = vae.encode(x).mean.detach()
    values = torch.linalg.eigvalsh(codes.T.cov(correction=0)).flip(0)
    torch.testing.assert_close(plane.points.var(0, correction=0), values[:2], rtol=1e-3, atol=1e-6)
    share = f"{100 * values[0] / values.sum():.0f} %"
    assert plane.axis_names[0] == f"first principal direction ({share} of the codes' variance)"


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (1, SIDE, SIDE), (3, SIDE, SIDE)])
def test_each_call_gives_a_figure(shape):
    vae, x, y = autoencoder(shape, num_classes=3), bits(12, shape), torch.arange(12) % 3
    figures = [samples(vae), reconstructions(vae, x, y), traversals(vae, x, y), latent_map(vae, x, y)]
    figures.append(overview(vae, x, y))
    for figure in figures:
        figure.canvas.draw()
    legend = figures[3].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]


def test_an_overview_needs_neither_classes_nor_a_map():
    overview(autoencoder(latent_size=1), bits(), image_shape=(SIDE, SIDE)).canvas.draw()
    vae = autoencoder(condition_size=2)
    overview(vae, bits(9), torch.rand(9, 2), image_shape=(SIDE, SIDE)).canvas.draw()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae, x: samples(vae, 0), "samples: num must be a whole number of at least 1"),
        (lambda vae, x: samples(vae), r"data of shape \(36,\) are no images"),
        (lambda vae, x: traversals(vae, x[:1]), "traversals: at least 2 data are needed"),
        (lambda vae, x: latent_map(vae, x[:1]), "latent_map: at least 2 data are needed, not 1"),
        (lambda vae, x: latent_map(vae, x, labels=[1, 2], image_shape=(6, 6)), "one for each of the 30 data, not 2"),
        (lambda vae, x: latent_map(autoencoder(latent_size=1), x), "a latent_size of at least 2"),
        (lambda vae, x: latent_information(vae, x[:0]), "there are no data"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call(autoencoder(), bits())


def test_information_of_one_datum_cannot_be_estimated():
    vae = autoencoder(prior=pt.networks.MixturePrior(3, 3))
    with pytest.raises(ValueError, match="at least 2 data are needed to tell signal from noise"):
        latent_information(vae, bits(1))


def test_a_missing_matplotlib_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'posterity\[plot\]'"):
        samples(autoencoder(), image_shape=(SIDE, SIDE))


def test_pictures_leave_the_mode_as_it_was():
    vae = autoencoder()
    vae.train()
    overview(vae, bits(), image_shape=(SIDE, SIDE))
    assert vae.training
