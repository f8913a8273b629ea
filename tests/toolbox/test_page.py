"""What pages are made of: pictures and figures that need nothing outside, in the page's own colours."""

import base64
import re

import numpy as np
import pytest

from posterity.toolbox import page

pytest.importorskip("matplotlib")


def test_a_figure_takes_every_colour_and_font_from_the_page():
    figure = page.new_figure()
    axes = figure.subplots()
    colours = (
        page.INK,
        page.MUTED,
        page.GRID,
        page.BAYESIAN,
        page.DETERMINISTIC,
        page.KNOWN,
        page.UNKNOWN,
        *page.KINDS,
    )
    for at, colour in enumerate(colours):
        axes.plot([0, at], [0, 1], color=colour)
    page.restrain(axes)
    element = page.svg(figure, "name", 'a "label" & more')
    assert not re.search(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]", element)
    assert {f"var(--kind-{digit})" for digit in range(10)} <= set(re.findall(r"var\(--[a-z0-9-]+\)", element))
    assert "font-family" not in element
    assert 'aria-label="a &quot;label&quot; &amp; more"' in element
    assert "://" not in element


def test_a_picture_is_in_its_address():
    address = page.png(np.zeros((2, 3, 4), dtype=np.uint8))
    head, _, body = address.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body).startswith(b"\x89PNG")
