"""What every page of the reports is made of: the template, pictures in the page itself, figures in its colours.

matplotlib draws; every colour of a figure is a placeholder, replaced by a CSS variable of the page, so that one
figure serves light and dark. Nothing touches matplotlib's global state beyond the call.
"""

import base64
import html
import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#010101", "#020202", "#030303"
BAYESIAN, DETERMINISTIC, KNOWN, UNKNOWN = "#040404", "#050505", "#060606", "#070707"
# Ten kinds that are told apart on light and on dark, also by most of those who see few colours.
KINDS = tuple(f"#08080{digit}" for digit in range(10))

_CSS_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    BAYESIAN: "var(--bayesian)",
    DETERMINISTIC: "var(--deterministic)",
    KNOWN: "var(--known)",
    UNKNOWN: "var(--epistemic)",
} | {colour: f"var(--kind-{digit})" for digit, colour in enumerate(KINDS)}


def template(name: str) -> "jinja2.Template":
    """A page's template, which escapes what it is given.

    Args:
        name: The file in `templates`.

    Raises:
        ModuleNotFoundError: If jinja2 or matplotlib isn't installed.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"the HTML report needs {missing.name}: pip install 'posterity[report]'", name=missing.name
        ) from missing
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("posterity.toolbox"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def png(image: Any, **options: Any) -> str:
    """An image as the address of an `<img>` that holds it.

    Args:
        image: An array, as `matplotlib.image.imsave` takes it.
        **options: For `imsave`: `cmap`, `vmin`, `vmax`.
    """
    from matplotlib.image import imsave

    data = io.BytesIO()
    imsave(data, image, format="png", **options)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def new_figure(width: float = 4.4, height: float = 3.1) -> "Figure":
    """A figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def restrain(axes: "Axes") -> None:
    """Leave of a frame only what helps reading."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    axes.tick_params(colors=GRID, labelcolor=MUTED, labelsize=10)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10.5)


def svg(figure: "Figure", name: str, label: str) -> str:
    """A figure as an element of a page.

    Args:
        figure: The figure, in the colours of this module.
        name: What sets its ids apart from those of the page's other figures.
        label: What it shows, for those who can't see it.
    """
    import matplotlib

    figure.patch.set_visible(False)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    element = _for_a_page(text.getvalue(), name)
    return element.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def _for_a_page(svg: str, name: str) -> str:
    """Turn an SVG document into an element: its ids made its own, its colours and fonts left to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>|<metadata.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+xmlns(:\w+)?=\"[^\"]*\"", "", svg)
    svg = re.sub(r"\s+(width|height|version)=\"[^\"]*\"", "", svg, count=3)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family:[^;\"]*;?\s*", "", svg)
    for placeholder, variable in _CSS_VARIABLES.items():
        svg = svg.replace(placeholder, variable)
    return svg.strip()
