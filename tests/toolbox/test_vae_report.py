"""The report of an autoencoder holds everything itself and shows what the autoencoder makes."""

import re
import sys

import pytest
import torch
from torch import nn

from posterity.networks import VAE, ConditionalVAE
from posterity.toolbox import Measure, render_vae_report
from tests.toolbox.test_report import Reader

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

ROWS = [
    Measure("Bound", "What it costs.", "-3.1 nats", "0.2 bits"),
    Measure("Read as meant", "How many <are> right.", "97 %", "", "at least 95 %", True),
    Measure("Seconds", "How long.", "99", "", "at most 90", False),
]
IMAGES = torch.rand(40, 64, generator=torch.Generator().manual_seed(0)).round()
CLASSES = torch.arange(40) % 3


def autoencoder(conditional: bool, latent_size: int = 3) -> VAE:
    decoder = nn.Linear(5, 64)
    if conditional:
        return ConditionalVAE(nn.Linear(67, 5), decoder, 5, latent_size, 3)
    return VAE(nn.Linear(64, 5), decoder, 5, latent_size)


def page(conditional: bool = True, latent_size: int = 3, **changes) -> str:
    arguments = {
        "title": "Digits & <others>",
        "summary": "A network.",
        "measures": ROWS,
        "vae": autoencoder(conditional, latent_size),
        "x": IMAGES,
        "y": CLASSES if conditional else None,
        "image_shape": (8, 8),
        "losses": torch.linspace(3, 1, 300),
        "generator": torch.Generator().manual_seed(0),
    }
    return render_vae_report(**arguments | changes)


@pytest.mark.parametrize("conditional", [True, False])
def test_the_page_is_whole_and_asks_for_nothing(conditional: bool):
    html = page(conditional)
    reader = Reader(html)
    assert "://" not in html
    assert not re.search(r"url\((?!#)", html)
    assert not list(reader.all("link")) + list(reader.all("script"))
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in reader.all("img"))
    assert all(image["alt"] for image in reader.all("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in reader.all("svg"))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', html)
    assert set(references) <= set(ids)


def test_it_shows_a_row_for_each_class_and_each_variable():
    reader = Reader(page())
    alts = [image["alt"] or "" for image in reader.all("img")]
    assert [alt for alt in alts if alt.startswith("Generated")] == [f"Generated images: {k}" for k in range(3)]
    assert sum(alt.startswith("Images along latent variable: z") for alt in alts) == 3
    assert len(list(reader.all("svg"))) == 2


def test_what_it_is_given_is_shown_as_text_and_targets_with_their_result():
    html = page()
    text = " ".join(Reader(html).text.split())
    assert "Digits & <others>" in text
    assert "How many <are> right." in text
    assert "✓ at least 95 %" in text
    assert "✗ at most 90" in text
    assert "-3.1 nats 0.2 bits" in text


def test_what_is_missing_is_left_out():
    text = Reader(page(conditional=False, latent_size=1, measures=[], losses=None)).text
    assert "A map of the codes" not in text
    assert "In figures" not in text
    assert "How it learned" not in text
    assert "Each row is a class" not in text


def test_the_same_generator_gives_the_same_page():
    vae = autoencoder(True)
    first, second = (page(vae=vae, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert first == second


def test_data_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="are no images"):
        page(image_shape=None)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs jinja2: pip install 'posterity\[report\]'"):
        page()
