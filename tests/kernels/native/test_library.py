"""C++ sources become libraries once, and a machine without a compiler says so."""

import pytest
from torch._inductor import config

from posterity.kernels.native.library import library
from posterity.kernels.normal_weights import is_available

SOURCE = 'extern "C" int answer() { return ANSWER; }\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "package_with_sources"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "answer.cpp").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder.name


@pytest.mark.skipif(not is_available(), reason="no C++ compiler")
def test_a_source_of_any_package_is_built_with_the_options_given(package):
    assert library(package, "answer", ("-DANSWER=42",)).answer() == 42
    assert library(package, "answer", ("-DANSWER=43",)).answer() == 43
    assert library(package, "answer", ("-DANSWER=42",)) is library(package, "answer", ("-DANSWER=42",))


@pytest.mark.skipif(not is_available(), reason="no C++ compiler")
def test_a_source_that_the_compiler_refuses_is_an_error(package):
    with pytest.raises(RuntimeError, match="ANSWER"):
        library(package, "answer")


def test_without_a_compiler_it_is_an_error(package):
    with (
        config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(RuntimeError, match="no-such-compiler|compiler"),
    ):
        library(package, "answer", ("-DANSWER=44",))
