"""`posterity demo vae`: its files, its one-line errors, and Ctrl-C."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posterity.cli import autoencoder, main
from posterity.cli.autoencoder import VAEMetrics
from posterity.cli.vae_demo import measures
from tests.cli.test_vae_data import write_set

for package in ("sklearn", "jinja2", "matplotlib"):
    pytest.importorskip(package)

METRICS = VAEMetrics("digits", 900, 300, 5, -99.0, 2.2, -98.0, 2.1, 200, 0.99, 0.97, 0.962, 0.977, 2000, 12.0)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "SMALL", autoencoder.SMALL._replace(epochs=2))
    monkeypatch.setattr(autoencoder, "LARGE", autoencoder.LARGE._replace(epochs=1, hidden_size=32))
    monkeypatch.setattr(autoencoder, "_NUM_IMPORTANCE_SAMPLES", 5)
    monkeypatch.setattr("posterity.cli.vae_demo.run_vae", functools.partial(autoencoder.run_vae, classifier_steps=20))


@pytest.mark.usefixtures("_quick")
def test_the_demo_writes_its_figures_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    place = tmp_path / "new" / "place"
    assert main(["demo", "vae", "--out", str(place), "--seed", "4", "--epochs", "3"]) == 0
    assert sorted(file.name for file in place.iterdir()) == ["vae.html", "vae.json"]
    metrics = json.loads((place / "vae.json").read_text())
    assert tuple(metrics) == VAEMetrics._fields
    assert (metrics["epochs"], metrics["num_generated"]) == (3, 2000)
    html = (place / "vae.html").read_text(encoding="utf-8")
    assert "1,347 images of scikit-learn" in html
    assert "://" not in html
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"{metrics['test_bound_nats']:.2f} nats" in printed.out
    assert "at least 95 %" in printed.out
    assert str(place / "vae.html") in printed.out


@pytest.mark.usefixtures("_quick")
def test_the_demo_takes_mnists_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_set(tmp_path)
    assert main(["demo", "vae", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--no-progress"]) == 0
    metrics = json.loads((tmp_path / "out" / "vae.json").read_text())
    assert (metrics["data"], metrics["num_train"], metrics["num_test"]) == ("MNIST", 80, 20)
    assert "drawn anew each time" in (tmp_path / "out" / "vae.html").read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vae", "--seed", "-1"], "the seed must lie in"),
        (["vae", "--epochs", "0"], "the training needs at least 1 epoch; got 0"),
        (["vae", "--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (["vae", "--held-out", "3"], "--held-out is an option of the demo digits, not of vae"),
        (["digits", "--epochs", "3"], "--epochs is an option of the demo vae, not of digits"),
        (["--data", "."], "--data is an option of the demo vae, not of digits"),
        (["vae", "--data", "nowhere"], "--data: nowhere is no folder"),
        (
            ["vae", "--data", str(Path(__file__).parent)],
            "lacks train-images-idx3-ubyte (or",
        ),
        (["vae", "--out", __file__], "--out: can't write to"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["demo", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


def test_the_table_says_which_targets_are_met():
    met = [row.target_met for row in measures(METRICS)]
    assert met == [True, True, None, None]
    met = [row.target_met for row in measures(METRICS._replace(agreement=0.9499, classifier_accuracy=0.9799))]
    assert met == [False, False, None, None]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT can't be sent to one process there")
def test_ctrl_c_leaves_one_line_and_no_files(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "posterity", "demo", "vae", "--out", str(tmp_path / "new" / "place")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and so would what they start.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "new" / "place").exists():  # made when the work begins
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "Interrupted.\n")
    assert list(tmp_path.iterdir()) == []
