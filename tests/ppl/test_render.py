import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch

import posterity as pt

dist = pt.distributions


def model(y=None, scale=1.0):
    loc = pt.param("loc", torch.zeros(()))
    mu = pt.sample("mu", dist.Normal(loc, 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(5.0))
    with pt.plate("schools", 8):
        theta = pt.sample("theta", dist.Normal(mu, tau))
        doubled = pt.deterministic("doubled", 2 * theta)
        pt.sample("y", dist.Normal(doubled, scale), obs=y)
    pt.factor("penalty", -mu)


class TestGraph:
    graph = pt.render_model(model, (torch.zeros(8),), {"scale": 2.0})

    def test_arrows_are_direct_dependences(self):
        assert self.graph.parents == {
            "mu": frozenset(),
            "tau": frozenset(),
            "theta": {"mu", "tau"},
            "doubled": {"theta"},
            "y": {"doubled"},
            "penalty": {"mu"},
        }
        arrows = [line.strip() for line in self.graph.dot.splitlines() if "->" in line]
        assert arrows == [
            '"mu" -> "theta";',
            '"tau" -> "theta";',
            '"theta" -> "doubled";',
            '"doubled" -> "y";',
            '"mu" -> "penalty";',
        ]

    def test_observed_deterministic_and_factor_nodes_look_different(self):
        lines = [line.strip() for line in self.graph.dot.splitlines()]
        assert '"mu" [label="mu"];' in lines
        assert '"y" [label="y\\n[8]", fillcolor=gray];' in lines
        assert '"doubled" [label="doubled\\n[8]", style="dashed"];' in lines
        assert '"penalty" [label="penalty", shape=square, fillcolor=black, fontcolor=white];' in lines

    def test_plates_are_boxes_with_their_sizes(self):
        inside = self.graph.dot.split('label="schools: 8"')[1].split("}")[0]
        assert all(f'"{name}" [' in inside for name in ("theta", "doubled", "y"))
        assert '"mu"' not in inside

    def test_it_shows_itself_as_text(self):
        assert repr(self.graph) == self.graph.dot
        assert self.graph.dot.count("{") == self.graph.dot.count("}")


def test_parameters_are_shown_on_request():
    graph = pt.render_model(model, (torch.zeros(8),), render_params=True)
    assert '"loc" [label="loc", shape=plaintext, style=""];' in graph.dot
    assert '"loc" -> "mu";' in graph.dot


def test_distributions_are_listed_on_request():
    def program():
        pt.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pt.sample("tau", dist.HalfCauchy(5.0))

    graph = pt.render_model(program, render_distributions=True)
    assert 'label="w ~ Normal\\ltau ~ HalfCauchy\\l"' in graph.dot


def test_a_subsampled_plate_says_of_how_many():
    def program():
        with pt.plate("data", 100, subsample_size=10):
            pt.sample("x", dist.Normal(0.0, 1.0))

    assert 'label="data: 10 of 100"' in pt.render_model(program).dot


def test_crossing_plates_are_drawn_inside_one_another():
    def program():
        rows, columns = pt.plate("rows", 2, dim=-2), pt.plate("columns", 3, dim=-1)
        with rows:
            pt.sample("r", dist.Normal(0.0, 1.0))
        with columns:
            pt.sample("c", dist.Normal(0.0, 1.0))
        with rows, columns:
            pt.sample("x", dist.Normal(0.0, 1.0))

    dot = pt.render_model(program).dot
    assert dot.count('label="rows: 2"') == 1
    assert dot.count('label="columns: 3"') == 2
    assert dot.count('subgraph "cluster_') == 3


def test_names_with_quotes_are_escaped():
    graph = pt.render_model(lambda: pt.sample('a"b', dist.Normal(0.0, 1.0)))
    assert '"a\\"b" [label="a\\"b"];' in graph.dot


def test_torchs_generator_is_left_alone():
    state = torch.get_rng_state()
    pt.render_model(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_text_is_written_to_a_file(tmp_path):
    graph = pt.render_model(model, filename=tmp_path / "model.dot")
    assert (tmp_path / "model.dot").read_text() == graph.dot


def test_a_file_without_a_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"filename must end with the format, such as '.svg' or '.dot'"):
        pt.render_model(model, filename=str(tmp_path / "model"))


@pytest.mark.skipif(importlib.util.find_spec("graphviz") is not None, reason="graphviz is installed")
def test_a_drawing_without_graphviz_says_what_to_install(tmp_path):
    graph = pt.render_model(model)
    with pytest.raises(ModuleNotFoundError, match="pip install graphviz"):
        graph.render(tmp_path / "model.svg")
    assert graph._repr_svg_() is None


class _Graphviz:
    """What is used of the package graphviz."""

    ExecutableNotFound = type("ExecutableNotFound", (RuntimeError,), {})

    def __init__(self, installed):
        self.installed = installed

    def Source(self, dot):
        def pipe(**kwargs):
            if not self.installed:
                raise self.ExecutableNotFound
            return f"{kwargs['format']} of {len(dot)}".encode()

        return SimpleNamespace(pipe=pipe)


def test_graphviz_draws_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", _Graphviz(installed=True))
    graph = pt.render_model(model, filename=tmp_path / "model.png")
    assert (tmp_path / "model.png").read_bytes() == f"png of {len(graph.dot)}".encode()
    assert graph._repr_svg_() == f"svg of {len(graph.dot)}"


def test_graphvizs_missing_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", _Graphviz(installed=False))
    with pytest.raises(RuntimeError, match="Graphviz's program `dot` is not installed"):
        pt.render_model(model, filename=tmp_path / "model.png")


def test_what_is_no_program_is_refused():
    with pytest.raises(TypeError, match="render_model: model must be a program to call, not int"):
        pt.render_model(3)


def test_arguments_that_are_no_tuple_are_refused():
    with pytest.raises(TypeError, match="render_model: args must be a tuple of the model's arguments, not Tensor"):
        pt.render_model(model, torch.zeros(8))
