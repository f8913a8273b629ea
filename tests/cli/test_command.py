"""The `posterity` command: its files, its one-line errors, its exit codes, and Ctrl-C."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posterity import __version__
from posterity.cli import digits, main
from posterity.cli.digits import DigitsMetrics

for package in ("sklearn", "jinja2", "matplotlib"):
    pytest.importorskip(package)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = functools.partial(digits.run_digits, epochs=4, bayesian_epochs=2, num_samples=4)
    monkeypatch.setattr("posterity.cli.demo.run_digits", shorter)


@pytest.mark.usefixtures("_quick")
def test_the_demo_writes_its_figures_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    place = tmp_path / "new" / "place"
    assert main(["demo", "digits", "--out", str(place), "--held-out", "0", "3", "--seed", "4"]) == 0
    assert sorted(file.name for file in place.iterdir()) == ["metrics.json", "report.html"]
    metrics = json.loads((place / "metrics.json").read_text())
    assert tuple(metrics) == DigitsMetrics._fields
    html = (place / "report.html").read_text(encoding="utf-8")
    assert "It has never seen any 0 or 3." in html
    assert "://" not in html
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"{metrics['accuracy']:.3f}" in printed.out
    assert "at least 0.97" in printed.out
    assert str(place / "report.html") in printed.out


@pytest.mark.usefixtures("_quick")
def test_without_out_it_says_where_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-progress", "--held-out", "7"]) == 0
    assert (tmp_path / "posterity-demo" / "report.html").exists()
    assert str(Path("posterity-demo") / "report.html") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--seed", "-1"], "the seed must lie in"),
        (["demo", "--seed", "two"], "--seed: invalid int value: 'two'"),
        (["demo", "--held-out", "8", "10"], "must lie in 0..9; got 8 10"),
        (["demo", "--held-out", "8", "8"], "repeated: 8 8"),
        (["demo", "--held-out", *"012345678"], "fewer than 2 digits"),
        (["demo", "--held-out"], "expected at least one argument"),
        (["demo", "--out", __file__], "--out: can't write to"),
        (["demo", "--out", f"{__file__}/below"], "--out: can't write to"),
        (["demo", "letters"], "invalid choice: 'letters'"),
        (["demo", "--fast"], "unrecognized arguments: --fast"),
        (["dream"], "invalid choice: 'dream'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err
    assert printed.err.startswith("posterity")


@pytest.mark.parametrize("package", ["sklearn", "jinja2", "matplotlib"])
def test_a_missing_package_is_one_line_with_its_cure(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "pip install 'posterity[demo]'" in error


@pytest.mark.usefixtures("_quick")
def test_a_disk_that_fills_up_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posterity.cli.demo.write_together", full)
    assert main(["demo", "--out", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err == "posterity demo: error: [Errno 28] No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_are_no_errors(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"posterity {__version__}\n"
    assert main(["demo", "--help"]) == 0
    assert "--held-out" in capsys.readouterr().out


def test_python_m_posterity_is_the_same_command():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"posterity {__version__}\n")
    done = run("demo", "--seed", "-1")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.skipif(os.name == "nt", reason="SIGINT can't be sent to one process there")
@pytest.mark.parametrize("seconds_in", [0.0, 2.0])
def test_ctrl_c_leaves_one_line_and_no_files(tmp_path: Path, seconds_in: float):
    process = subprocess.Popen(
        [sys.executable, "-m", "posterity", "demo", "--out", str(tmp_path / "new" / "place")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and so would what they start.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "new" / "place").exists():  # made when the work begins
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(seconds_in)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "Interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "posterity", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
