"""Interleaved timing: every competitor has its turn in every round, so that the machine's noise hits all alike.

Ratios are taken within a round and summarised over the rounds; absolute times are only for orientation. The time is
the processor's: on one thread it is the wall clock's on an idle machine, and does not count what else a busy one does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch
from scipy.stats import binom

Call = Callable[[], object]

MAX_CALLS = 200


class Estimate(NamedTuple):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Timings(NamedTuple):
    """Processor seconds per call: of each competitor its median in each round."""

    seconds: Mapping[str, Sequence[float]]

    def milliseconds(self, name: str) -> float:
        """The median over the rounds."""
        return 1e3 * median(self.seconds[name])

    def ratio(self, name: str, reference: str) -> Estimate:
        """How many times the reference's time, as the median of the rounds' ratios."""
        pairs = zip(self.seconds[name], self.seconds[reference], strict=True)
        return median_interval([own / other for own, other in pairs])


def measure(competitors: Mapping[str, Call], *, rounds: int = 25, turn: float = 0.1) -> Timings:
    """Time the competitors against each other on one thread.

    Args:
        competitors: What to call, by name.
        rounds: How many turns each has. The one that begins changes from round to round.
        turn: How long a turn lasts, in seconds, for those whose calls are short enough.

    Returns:
        The timings.
    """
    torch.set_num_threads(1)
    names = list(competitors)
    calls = {name: _calls_per_turn(competitors[name], turn) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            competitors[name]()  # brings its tensors back into the caches
            seconds[name].append(median(_time(competitors[name]) for _ in range(calls[name])))
    return Timings(seconds)


def median_interval(values: Sequence[float]) -> Estimate:
    """The median with the interval between two order statistics that holds it at least 95 times in 100.

    Nothing is assumed about the values' distribution. With fewer than six the interval is their range, and holds less.

    Example:
        >>> median_interval(range(25))
        Estimate(value=12, low=7, high=17)
    """
    ordered = sorted(values)
    skipped = max(0, int(binom.ppf(0.025, len(ordered), 0.5)) - 1)
    return Estimate(median(ordered), ordered[skipped], ordered[-1 - skipped])


def _calls_per_turn(call: Call, turn: float) -> int:
    call()
    once = min(_time(call) for _ in range(3))
    return max(1, min(MAX_CALLS, round(turn / once)))


def _time(call: Call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
