"""A program drawn as a graph: its sites, what each depends on, and the plates around them."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from posterity.kernels import Key
from posterity.ppl.factor import Factor
from posterity.ppl.provenance import provenance
from posterity.ppl.site import Frame, Site
from posterity.ppl.stack import Handler


class ModelGraph:
    """The graph of a program, in Graphviz's language; notebooks show it where Graphviz is installed.

    Attributes:
        dot: The graph as text.
        parents: For each site the sites that it depends on directly.
    """

    def __init__(self, dot: str, parents: Mapping[str, frozenset[str]]) -> None:
        self.dot = dot
        self.parents = dict(parents)

    def render(self, filename: str | Path) -> Path:
        """Write the graph to a file.

        Args:
            filename: Its ending says what is written: `.dot` or `.gv` the text itself; `.svg`, `.png`, `.pdf` and the
                like a drawing, which takes Graphviz.

        Returns:
            The file.

        Raises:
            ValueError: The name has no ending.
            ModuleNotFoundError: The Python package `graphviz` is not installed.
            RuntimeError: Graphviz's program `dot` is not installed.
        """
        path = Path(filename)
        if not path.suffix:
            raise ValueError(f"filename must end with the format, such as '.svg' or '.dot', but is {str(filename)!r}")
        if path.suffix in (".dot", ".gv"):
            path.write_text(self.dot, encoding="utf-8")
        else:
            path.write_bytes(_drawn(self.dot, path.suffix[1:]))
        return path

    def _repr_svg_(self) -> str | None:
        try:
            return _drawn(self.dot, "svg").decode()
        except (ModuleNotFoundError, RuntimeError):  # the notebook then shows the text
            return None

    def __repr__(self) -> str:
        return self.dot


def render_model(
    model: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    filename: str | Path | None = None,
    render_distributions: bool = False,
    render_params: bool = False,
) -> ModelGraph:
    r"""Draw a program: a node for each site, an arrow for each direct dependence, a box for each plate.

    Observed sites are shaded, deterministic ones dashed, factors black squares; values that are no single numbers
    have their shape beside the name. The program runs once, without touching torch's generator.

    Args:
        model: The program.
        args: Its arguments.
        kwargs: Its keyword arguments.
        filename: Where to write the graph; see `ModelGraph.render`.
        render_distributions: Whether to list the sites' distributions.
        render_params: Whether to show the sites of `posterity.param`, and what depends on them.

    Returns:
        The graph.

    Raises:
        TypeError: `model` cannot be called, or `args` is no sequence.

    Example:
        >>> import torch, posterity as pt
        >>> def model(y):
        ...     mu = pt.sample("mu", pt.distributions.Normal(0.0, 5.0))
        ...     with pt.plate("data", len(y)):
        ...         pt.sample("y", pt.distributions.Normal(mu, 1.0), obs=y)
        >>> print(pt.render_model(model, (torch.zeros(3),)))
        digraph {
          node [shape=ellipse, style=filled, fillcolor=white];
          "mu" [label="mu"];
          subgraph "cluster_1" {
            label="data: 3"; labelloc=b; labeljust=r;
            "y" [label="y\n[3]", fillcolor=gray];
          }
          "mu" -> "y";
        }
    """
    if not callable(model):
        raise TypeError(f"render_model: model must be a program to call, not {type(model).__name__}")
    if not isinstance(args, Sequence) or isinstance(args, str):
        raise TypeError(f"render_model: args must be a tuple of the model's arguments, not {type(args).__name__}")
    kept = ("sample", "deterministic", "param") if render_params else ("sample", "deterministic")
    recorded = _Recorded()
    with recorded, provenance() as followed:
        model(*args, **(kwargs or {}))
    sites = {site.name: site for site in recorded.sites if site.kind in kept}
    parents = {name: _shown(followed, name, sites) for name in sites}
    graph = ModelGraph("\n".join(_lines(sites, parents, render_distributions)), parents)
    if filename is not None:
        graph.render(filename)
    return graph


class _Recorded(Handler):
    """Keeps the sites of a run, which draws from a seed of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[Site] = []

    def process_message(self, site: Site) -> None:
        if site.kind in ("sample", "plate") and site.value is None and site.source is None:
            site.source = Key(0).at(len(self.sites))

    def postprocess_message(self, site: Site) -> None:
        self.sites.append(site)


def _shown(followed: provenance, name: str, sites: Mapping[str, Site]) -> frozenset[str]:
    """The nearest ancestors that the graph shows."""
    found: set[str] = set()
    waiting = [*followed.parents[name]]
    while waiting:
        parent = waiting.pop()
        if parent in sites:
            found.add(parent)
        else:
            waiting += followed.parents.get(parent, ())
    return frozenset(found - {name})


def _lines(
    sites: Mapping[str, Site], parents: Mapping[str, frozenset[str]], render_distributions: bool
) -> Iterator[str]:
    yield "digraph {"
    yield "  node [shape=ellipse, style=filled, fillcolor=white];"
    yield from _Boxes().lines(list(sites.values()), depth=0)
    for name in sites:
        for parent in sites:
            if parent in parents[name]:
                yield f"  {_quoted(parent)} -> {_quoted(name)};"
    if render_distributions:
        listed = [f"{s.name} ~ {_described(s)}" for s in sites.values() if s.kind == "sample" and not _is_factor(s)]
        label = "".join(_escaped(line) + "\\l" for line in listed)
        yield f'  "distributions" [label="{label}", shape=plaintext, style=""];'
    yield "}"


class _Boxes:
    """Nodes inside the boxes of their plates; a plate that others cross is drawn once in each of them."""

    def __init__(self) -> None:
        self.count = 0

    def lines(self, sites: list[Site], depth: int) -> Iterator[str]:
        indent = "  " * (depth + 1)
        inside: dict[str, list[Site]] = {}
        for site in sites:
            if len(site.plates) == depth:
                yield indent + _node(site)
            else:
                inside.setdefault(site.plates[depth].name, []).append(site)
        for members in inside.values():
            self.count += 1
            yield f'{indent}subgraph "cluster_{self.count}" {{'
            yield f'{indent}  label="{_escaped(_size(members[0].plates[depth]))}"; labelloc=b; labeljust=r;'
            yield from self.lines(members, depth + 1)
            yield f"{indent}}}"


def _node(site: Site) -> str:
    shape = list(site.value.shape) if isinstance(site.value, Tensor) and not _is_factor(site) else []
    label = _escaped(site.name) + (f"\\n{shape}" if shape else "")
    look = ""
    if site.kind == "deterministic":
        look = ', style="dashed"'
    elif site.kind == "param":
        look = ', shape=plaintext, style=""'
    elif _is_factor(site):
        look = ", shape=square, fillcolor=black, fontcolor=white"
    elif site.is_observed:
        look = ", fillcolor=gray"
    return f'{_quoted(site.name)} [label="{label}"{look}];'


def _size(frame: Frame) -> str:
    of = f" of {frame.full_size}" if frame.size != frame.full_size else ""
    return f"{frame.name}: {frame.size}{of}"


def _described(site: Site) -> str:
    """The family of a site's distribution, without what wraps it."""
    described: Any = site.distribution
    while type(described).__name__ in ("Independent", "MaskedDistribution", "Lifted"):
        described = described.base_dist
    return type(described).__name__


def _is_factor(site: Site) -> bool:
    return isinstance(site.distribution, Factor)


def _quoted(name: str) -> str:
    return f'"{_escaped(name)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _drawn(dot: str, form: str) -> bytes:
    try:
        graphviz: Any = importlib.import_module("graphviz")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "drawing a model takes Graphviz and the Python package graphviz (pip install graphviz), which is not "
            "installed; the graph's text is in .dot, and a filename that ends with '.dot' takes it as it is"
        ) from None
    try:
        drawing: bytes = graphviz.Source(dot).pipe(format=form)
    except graphviz.ExecutableNotFound:
        raise RuntimeError(
            "Graphviz's program `dot` is not installed (the Python package graphviz only calls it); the graph's text "
            "is in .dot, and a filename that ends with '.dot' takes it as it is"
        ) from None
    return drawing
