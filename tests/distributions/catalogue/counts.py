"""Distributions of counts, of ranks, and of what relaxes them."""

import math
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from scipy import special, stats

from posterity.distributions import (
    Bernoulli,
    BetaBinomial,
    Binomial,
    DiscreteUniform,
    Geometric,
    NegativeBinomial,
    OrderedLogistic,
    Poisson,
    RelaxedBernoulli,
    Skellam,
    Zipf,
)
from tests.distributions.catalogue.entry import Entry, FromDensity, FromMasses


def _ordered_masses(predictor: float, cutpoints: list[float]) -> FromMasses:
    with mpmath.workdps(30):
        cdf = [mpmath.mpf(0), *(1 / (1 + mpmath.exp(predictor - mpmath.mpf(c))) for c in cutpoints), mpmath.mpf(1)]
        return FromMasses(range(len(cutpoints) + 1), [float(b - a) for a, b in pairwise(cdf)])


def _beta_binomial_masses(concentration1: float, concentration0: float, total_count: float) -> FromMasses:
    n, counts = int(total_count), range(int(total_count) + 1)
    with mpmath.workdps(30):
        scale = mpmath.beta(concentration1, concentration0)
        masses = [
            mpmath.binomial(n, k) * mpmath.beta(k + concentration1, n - k + concentration0) / scale for k in counts
        ]
        return FromMasses(counts, [float(m) for m in masses])


def _negative_binomial_masses(total_count: float, probs: float) -> FromMasses:
    """Up to where the rest of the mass is below 1e-40; scipy's tails lose digits."""
    r, counts = mpmath.mpf(total_count), range(600)
    with mpmath.workdps(30):
        p = mpmath.mpf(probs)
        masses, term = [], (1 - p) ** r
        for k in counts:
            masses.append(float(term))
            term *= (r + k) / (k + 1) * p
        return FromMasses(counts, masses)


def _skellam_masses(rate1: float, rate2: float) -> FromMasses:
    """By convolution in many digits, up to where masses are below 1e-80."""
    with mpmath.workdps(40):
        a, b = mpmath.mpf(rate1), mpmath.mpf(rate2)
        counts = range(-160, 161)
        root = 2 * mpmath.sqrt(a * b)
        bessel = [mpmath.besseli(k, root) for k in range(161)]
        return FromMasses(
            counts, [float(mpmath.exp(-a - b) * (a / b) ** (mpmath.mpf(k) / 2) * bessel[abs(k)]) for k in counts]
        )


class _Zipf:
    """scipy.stats.zipf with the tail of many digits."""

    def __init__(self, concentration: float) -> None:
        self._s, self._law = concentration, stats.zipf(concentration)
        self.mean = lambda: float(self._law.mean())

    def var(self) -> float:
        with mpmath.workdps(30):
            first, second = (mpmath.zeta(self._s - order) / mpmath.zeta(self._s) for order in (1, 2))
            return float(second - first**2)

    def logpmf(self, x: Any) -> Any:
        return -self._s * np.log(x) - math.log(special.zeta(self._s))

    def pmf(self, x: Any) -> Any:
        return np.where(np.asarray(x) >= 1, np.exp(self.logpmf(np.maximum(x, 1))), 0)

    def sf(self, x: Any) -> Any:
        return np.where(
            np.asarray(x) >= 1, special.zeta(self._s, np.floor(np.maximum(x, 0)) + 1), special.zeta(self._s)
        ) / special.zeta(self._s)

    def cdf(self, x: Any) -> Any:
        return 1 - self.sf(x)

    def logcdf(self, x: Any) -> Any:
        return np.log1p(-self.sf(x))

    def logsf(self, x: Any) -> Any:
        return np.log(self.sf(x))

    def ppf(self, level: Any) -> Any:
        table = np.arange(1, 2000)
        return table[np.minimum(np.searchsorted(self.cdf(table), level), len(table) - 1)].astype(float)

    def isf(self, level: Any) -> Any:
        # A power law's tail: the continuous bound is near enough for a point to compare at.
        scale = special.zeta(self._s) * (self._s - 1)
        return np.ceil((np.asarray(level) * scale) ** (1 / (1 - self._s)))

    def median(self) -> float:
        return float(self.ppf(0.5))

    def entropy(self) -> float:
        with mpmath.workdps(30):
            z = mpmath.zeta(self._s)
            return float(mpmath.log(z) - self._s * mpmath.zeta(self._s, 1, 1) / z)


def _relaxed_bernoulli(temperature: float, logits: float) -> FromDensity:
    t, logits = mpmath.mpf(temperature), mpmath.mpf(logits)

    def log_density(x: Any) -> Any:
        a, b = logits - t * mpmath.log(x), -t * mpmath.log(1 - x)
        top = mpmath.log(t) + logits - (t + 1) * (mpmath.log(x) + mpmath.log(1 - x))
        return top - 2 * mpmath.log(mpmath.exp(a) + mpmath.exp(b))

    def quantile(level: float) -> float:
        z = (logits + mpmath.log(mpmath.mpf(level) / (1 - mpmath.mpf(level)))) / t
        return float(1 / (1 + mpmath.exp(-z)))

    levels = [1e-6, 1e-3, 0.05, 0.2, 0.5, 0.8, 0.95, 0.999]
    points = [quantile(level) for level in levels]
    return _WithLogisticTails(log_density, [0, *points, 1], points, temperature, float(logits))


class _WithLogisticTails(FromDensity):
    """A density whose tails are those of a logistic variable at `temperature * logit(x) - logits`."""

    def __init__(self, log_density: Any, cuts: Any, points: Any, temperature: float, logits: float) -> None:
        super().__init__(log_density, cuts, points)
        self._standardised = lambda x: temperature * (np.log(x) - np.log1p(-np.asarray(x))) - logits

    def cdf(self, x: Any) -> Any:
        return special.expit(self._standardised(x))

    def sf(self, x: Any) -> Any:
        return special.expit(-self._standardised(x))


ENTRIES = [
    Entry(
        Bernoulli,
        [{"probs": 0.3}, {"probs": 0.9}, {"probs": 1e-5}],
        lambda probs: FromMasses([0, 1], [1 - probs, probs]),
        bad={"probs": 1.5},
        outside=2.0,
    ),
    Entry(
        Binomial,
        [
            {"total_count": 12.0, "probs": 0.3},
            {"total_count": 12.0, "probs": 0.8},
            {"total_count": 400.0, "probs": 0.01},
        ],
        lambda total_count, probs: stats.binom(int(total_count), probs),
        bad={"total_count": -1.0, "probs": 1.5},
        outside=-1.0,
        fit={"total_count": 12.0},
    ),
    Entry(
        BetaBinomial,
        [
            {"concentration1": 2.0, "concentration0": 3.0, "total_count": 12.0},
            {"concentration1": 0.3, "concentration0": 0.2, "total_count": 12.0},
            {"concentration1": 20.0, "concentration0": 700.0, "total_count": 150.0},
        ],
        _beta_binomial_masses,
        bad={"concentration1": -1.0, "concentration0": 0.0, "total_count": 1.5},
        outside=-1.0,
        fit={"total_count": 12.0},
    ),
    Entry(
        DiscreteUniform,
        [{"low": 1.0, "high": 6.0}, {"low": 0.0, "high": 9.0}, {"low": -3.0, "high": 300.0}],
        lambda low, high: FromMasses(range(int(low), int(high) + 1), [1 / (high - low + 1)] * int(high - low + 1)),
        bad={"low": 0.5, "high": 0.0},
        outside=0.5,
    ),
    Entry(
        Geometric,
        [{"probs": 0.3}, {"probs": 0.9}, {"probs": 0.01}],
        lambda probs: stats.geom(probs, loc=-1),
        bad={"probs": 0.0},
        outside=-1.0,
    ),
    Entry(
        NegativeBinomial,
        [{"total_count": 3.0, "probs": 0.4}, {"total_count": 3.0, "probs": 0.2}, {"total_count": 0.3, "probs": 0.7}],
        _negative_binomial_masses,
        bad={"total_count": -1.0, "probs": 1.0},
        outside=-1.0,
        fit={"total_count": 3.0},
    ),
    Entry(
        OrderedLogistic,
        [
            {"predictor": 0.5, "cutpoints": [-1.0, 0.0, 2.0]},
            {"predictor": -1.0, "cutpoints": [-2.0, -1.9, 0.0]},
            {"predictor": 9.0, "cutpoints": [-5.0, 0.0, 5.0]},
        ],
        _ordered_masses,
        bad={"predictor": math.nan, "cutpoints": [0.0, -1.0, 1.0]},
        outside=-1.0,
        fit=None,
        refused={"fit": "predictor and cutpoints can move together"},
    ),
    Entry(
        Poisson,
        [{"rate": 3.0}, {"rate": 0.02}, {"rate": 1000.0}],
        lambda rate: stats.poisson(rate),
        bad={"rate": -1.0},
        outside=-1.0,
        looser=dict.fromkeys(
            ("cdf", "survival_function", "log_cdf", "log_survival_function"),
            (150.0, "the incomplete gamma functions have a relative error of up to 3e-11 in float64 at large rates"),
        ),
    ),
    Entry(
        Skellam,
        [{"rate1": 3.0, "rate2": 2.0}, {"rate1": 0.02, "rate2": 0.5}, {"rate1": 20.0, "rate2": 25.0}],
        _skellam_masses,
        bad={"rate1": -1.0, "rate2": 0.0},
        outside=None,
        levels=(1e-40, 1e-20, 1e-10, 1e-4, 0.01, 0.1, 0.25, 0.4),
    ),
    Entry(
        Zipf,
        [{"concentration": 6.3}, {"concentration": 7.0}, {"concentration": 20.0}],
        _Zipf,
        bad={"concentration": 1.0},
        outside=0.0,
    ),
    Entry(
        RelaxedBernoulli,
        [
            {"temperature": 1.5, "logits": -0.8},
            {"temperature": 2.0, "logits": 1.4},
            {"temperature": 0.7, "logits": 0.5},
        ],
        _relaxed_bernoulli,
        bad={"temperature": 0.0, "logits": math.nan},
        outside=2.0,
        looser={"mass": (1000.0, "the density is infinite at both ends, which the test integrates without refinement")},
    ),
]
