"""Sources that are built in the background: `library` waits for them, and finds their errors."""

import threading
from collections.abc import Iterator

import pytest

from posterity.infer.capture import can_compile
from posterity.infer.native import ahead
from posterity.infer.native.library import library

pytestmark = pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")


@pytest.fixture
def afresh() -> Iterator[None]:
    ahead.build_ahead.cache_clear()
    yield
    ahead.build_ahead.cache_clear()


def test_it_is_built_by_another_thread_and_once(afresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    done = threading.Event()

    def build(name: str) -> None:
        seen.append((name, threading.get_ident()))
        done.set()

    monkeypatch.setattr(ahead, "library", build)
    ahead.build_ahead("replay")
    ahead.build_ahead("replay")
    assert done.wait(30)
    ((name, thread),) = seen
    assert name == "replay"
    assert thread != threading.get_ident()


def test_an_error_is_that_of_whoever_asks(afresh: None) -> None:
    ahead.build_ahead("nothing")
    with pytest.raises(FileNotFoundError):
        library("nothing")


def test_without_a_compiler_nothing_happens(afresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "can_compile", lambda: False)
    monkeypatch.setattr(ahead, "library", lambda name: pytest.fail("it builds"))
    ahead.build_ahead("replay")
