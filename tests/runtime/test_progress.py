"""A progress line is seen on a terminal only, and leaves the terminal as it found it."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch

from posterity.runtime import Progress

pty = pytest.importorskip("pty", reason="needs a Unix terminal")

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


def test_a_line_on_a_terminal_shows_what_matters_and_stays():
    seen, _, code = on_a_terminal(
        """
        import time, torch
        from posterity.runtime import Progress
        with Progress("Fitting [1/2]", total=3) as progress:
            for loss in (0.9, 0.5, torch.tensor(0.123456)):
                progress.update(loss=loss, phase="warm-up")
                time.sleep(0.15)
        """
    )
    last = plain(seen).splitlines()[-1]
    assert code == 0
    assert "Fitting [1/2]" in last
    assert "100%" in last
    assert "loss 0.1235" in last
    assert "phase warm-up" in last
    assert re.search(r"\d:\d\d:\d\d", last)
    assert_cursor_is_visible(seen)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ValueError('no')"])
def test_an_error_or_interrupt_wipes_the_line_and_passes_on(error: str):
    seen, _, code = on_a_terminal(
        f"""
        import sys
        from posterity.runtime import Progress
        try:
            with Progress("Fitting", total=3) as progress:
                progress.update(loss=1.0)
                raise {error}
        except BaseException as caught:
            sys.exit(7)
        """
    )
    assert code == 7
    assert seen.rstrip().endswith("\x1b[2K")  # the last thing done to the line is to erase it
    assert_cursor_is_visible(seen)


def test_what_goes_to_a_file_stays_out_of_the_terminal():
    seen, output, _ = on_a_terminal(
        """
        from posterity.runtime import Progress
        with Progress("Fitting", total=1) as progress:
            print("a result")
            progress.update()
        """
    )
    assert output == "a result\n"
    assert "a result" not in seen


def test_the_outermost_line_speaks():
    seen, _, code = on_a_terminal(
        """
        from posterity.runtime import Progress
        with Progress("outer", total=1) as outer:
            with Progress("inner", total=1) as inner:
                inner.update()
            outer.update()
        with Progress("next", total=1) as following:
            following.update()
        """
    )
    assert code == 0
    assert "outer" in seen
    assert "inner" not in seen
    assert "next" in seen


def test_progress_false_is_silent_on_a_terminal():
    seen, _, code = on_a_terminal(
        """
        from posterity.runtime import Progress
        with Progress("Fitting", total=1, enabled=False) as progress:
            progress.update(loss=1.0)
        """
    )
    assert (seen, code) == ("", 0)


def test_without_a_terminal_nothing_is_written_and_rich_is_not_loaded():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom posterity.runtime import Progress\n"
            "with Progress('x', total=2) as p:\n    p.update(loss=1.0)\n"
            "sys.exit('rich' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_silent_updates_do_not_read_the_values():
    class Explosive:
        def __float__(self) -> float:
            raise AssertionError("a silent line must not wait for a tensor")

    with Progress("x", enabled=False) as progress:
        progress.update(loss=Explosive())
        progress.update(loss=torch.tensor(1.0))


@pytest.mark.parametrize("total", [0, -1, float("nan"), float("inf")])
def test_a_total_that_is_no_number_of_steps_is_refused(total: float):
    with pytest.raises(ValueError, match="total must be a positive number of steps"):
        Progress("x", total=total)


def on_a_terminal(script: str) -> tuple[str, str, int]:
    """Run a script whose error stream is a terminal: what the terminal saw, standard output, exit code."""
    ours, theirs = pty.openpty()
    seen: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux reports the closing of the other end as an input/output error
                return
            if not part:
                return
            seen.append(part)

    listener = threading.Thread(target=listen)
    listener.start()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        stderr=theirs,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        cwd=Path.cwd(),
        check=False,
    )
    os.close(theirs)
    listener.join(timeout=10)
    os.close(ours)
    return b"".join(seen).decode(), done.stdout.decode(), done.returncode


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").strip()


def assert_cursor_is_visible(seen: str) -> None:
    assert seen.rindex(SHOW_CURSOR) > seen.rindex(HIDE_CURSOR)
