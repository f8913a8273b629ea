"""A comparison names the winner, also when it is the baseline."""

import pytest

from posterity.toolbox import Comparison


def row(bayesian: float, deterministic: float, higher_is_better: bool = True, met: bool = True) -> Comparison:
    return Comparison("AUROC", "what it says", bayesian, deterministic, higher_is_better, "at least 0.9", met)


@pytest.mark.parametrize(
    ("comparison", "winner", "verdict"),
    [
        (row(0.95, 0.9), "Bayesian", "The Bayesian network wins, 0.950 against 0.900; target met."),
        (row(0.9, 0.95), "deterministic", "The deterministic network wins, 0.950 against 0.900; target met."),
        (row(0.1, 0.2, False), "Bayesian", "The Bayesian network wins, 0.100 against 0.200; target met."),
        (row(0.7, 0.7, met=False), "neither", "No difference, both 0.700; target missed."),
        (row(0.9001, 0.9003), "neither", "No difference, both 0.900; target met."),
    ],
)
def test_the_verdict_says_who_wins(comparison: Comparison, winner: str, verdict: str):
    assert comparison.winner == winner
    assert comparison.verdict == verdict


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_figure_is_named(bad: float):
    with pytest.raises(ValueError, match="AUROC of the deterministic network is"):
        row(0.9, bad).check()
    with pytest.raises(ValueError, match="AUROC of the Bayesian network is"):
        row(bad, 0.9).check()
