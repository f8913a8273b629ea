"""Statistical judgements at a stated false-alarm rate: each fails a correct program in one seed of `1 / FALSE_ALARM`.

Every test fixes its seed, so a failure is a fact about the program.
"""

from scipy import stats
from torch import Tensor

FALSE_ALARM = 1e-6


def quantile(comparisons: int = 1) -> float:
    """How many standard errors `comparisons` numbers may be off together (Bonferroni)."""
    return float(stats.norm.isf(FALSE_ALARM / (2 * comparisons)))


def assert_mean(draws: Tensor, expected: Tensor | float) -> None:
    """The mean over the first dimension, element by element, by its own standard error."""
    draws = draws.detach().double()
    error = draws.std(0) / len(draws) ** 0.5
    off = (draws.mean(0) - expected).abs()
    assert (off <= quantile(off.numel()) * error + 1e-12).all(), f"off by {(off / error).max()} standard errors"


def assert_same_mean(a: Tensor, b: Tensor) -> None:
    """The means of two samples of numbers, by Welch's test."""
    a, b = a.detach().double(), b.detach().double()
    p = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert p > FALSE_ALARM, f"{a.mean()} beside {b.mean()}: p = {p}"


def assert_variance(draws: Tensor, expected: Tensor | float) -> None:
    """The variance over the first dimension; its standard error comes from the fourth moment."""
    draws = draws.detach().double()
    assert_mean((draws - draws.mean(0)).square() * len(draws) / (len(draws) - 1), expected)


def assert_normal_variance(draws: Tensor, expected: Tensor | float) -> None:
    """The variance of normal draws over the first dimension, by the chi-squared distribution."""
    draws, free = draws.detach().double(), len(draws) - 1
    ratio = draws.var(0) / expected
    tail = FALSE_ALARM / (2 * ratio.numel())
    lower, upper = stats.chi2.isf([1 - tail, tail], free) / free
    assert ((ratio > lower) & (ratio < upper)).all(), f"ratios {ratio.min()} to {ratio.max()}"


def assert_uncorrelated(a: Tensor, b: Tensor) -> None:
    """Pearson's correlation of two samples, by Fisher's transformation."""
    correlation = float(stats.pearsonr(a.detach().double().flatten(), b.detach().double().flatten()).statistic)
    assert abs(correlation) * a.numel() ** 0.5 < quantile(), f"correlation {correlation}"


def assert_same_distribution(a: Tensor, b: Tensor) -> None:
    """Two-sample Kolmogorov-Smirnov test."""
    p = stats.ks_2samp(a.detach().double().flatten(), b.detach().double().flatten()).pvalue
    assert p > FALSE_ALARM
