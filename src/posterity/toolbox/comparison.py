"""One figure of two networks side by side, and who wins."""

import math
from typing import Literal, NamedTuple


class Comparison(NamedTuple):
    """A figure of merit of a Bayesian network and of the deterministic one it was made from.

    Attributes:
        name: What is measured.
        meaning: What that says, in a sentence for somebody who doesn't know the name.
        bayesian: The Bayesian network's figure.
        deterministic: The deterministic network's figure.
        higher_is_better: Which way is good.
        target: What the Bayesian network was meant to reach, in words.
        target_met: Whether it did.

    Example:
        >>> row = Comparison("ECE", "the gap", 0.012, 0.019, False, "at most 0.03", True)
        >>> row.winner, row.verdict
        ('Bayesian', 'The Bayesian network wins, 0.012 against 0.019; target met.')
    """

    name: str
    meaning: str
    bayesian: float
    deterministic: float
    higher_is_better: bool
    target: str
    target_met: bool

    @property
    def winner(self) -> Literal["Bayesian", "deterministic", "neither"]:
        """Who has the better figure at the three decimals that are shown."""
        ours, theirs = round(self.bayesian, 3), round(self.deterministic, 3)
        if ours == theirs:
            return "neither"
        return "Bayesian" if (ours > theirs) == self.higher_is_better else "deterministic"

    @property
    def verdict(self) -> str:
        """Who wins and whether the target was reached, as a sentence."""
        target = "target met" if self.target_met else "target missed"
        if self.winner == "neither":
            return f"No difference, both {self.bayesian:.3f}; {target}."
        ours, theirs = f"{self.bayesian:.3f}", f"{self.deterministic:.3f}"
        figures = f"{ours} against {theirs}" if self.winner == "Bayesian" else f"{theirs} against {ours}"
        return f"The {self.winner} network wins, {figures}; {target}."

    def check(self) -> None:
        """Raise a `ValueError` that names the figure unless both numbers are finite."""
        for network, value in (("Bayesian", self.bayesian), ("deterministic", self.deterministic)):
            if not math.isfinite(value):
                raise ValueError(f"{self.name} of the {network} network is {value}, which is no figure to report")
