"""Whoever compiles several graphs precompiles the header, and whoever finds it uses it."""

from pathlib import Path

import pytest
from torch._dynamo.utils import counters
from torch._inductor import config
from torch._inductor.codecache import PyCodeCache

from posterity.infer.native.header import header_if_it_pays


@pytest.fixture
def own_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A loader that says whether kernels would use the header, and an empty folder for headers."""
    monkeypatch.setattr(PyCodeCache, "load_by_key_path", staticmethod(lambda: config.cpp_cache_precompile_headers))
    monkeypatch.setattr("torch._inductor.runtime.cache_dir_utils.default_cache_dir", lambda: str(tmp_path))
    monkeypatch.setitem(counters["inductor"], "fxgraph_cache_miss", 1)
    return tmp_path


def uses_header() -> bool:
    with header_if_it_pays():
        return bool(PyCodeCache.load_by_key_path())  # type: ignore[call-arg]


def test_the_first_graph_does_without(own_load: Path) -> None:
    assert not uses_header()


def test_the_second_graph_makes_it(own_load: Path) -> None:
    counters["inductor"]["fxgraph_cache_miss"] = 2
    assert uses_header()


def test_what_is_there_is_used(own_load: Path) -> None:
    (own_load / "precompiled_headers").mkdir()
    (own_load / "precompiled_headers" / "some.h.gch").touch()
    assert uses_header()


def test_who_wants_none_has_none(own_load: Path) -> None:
    counters["inductor"]["fxgraph_cache_miss"] = 2
    with config.patch(cpp_cache_precompile_headers=False):
        assert not uses_header()


def test_only_loading_changes_options_and_the_loader_comes_back(own_load: Path) -> None:
    before = PyCodeCache.__dict__["load_by_key_path"]
    with header_if_it_pays():
        assert PyCodeCache.__dict__["load_by_key_path"] is not before
        assert config.cpp_cache_precompile_headers
    assert PyCodeCache.__dict__["load_by_key_path"] is before
