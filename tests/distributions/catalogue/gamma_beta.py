"""Distributions of the gamma and beta families, of extremes, and their relatives on the line and the circle."""

import math

import mpmath
import numpy as np
from scipy import special, stats

from posterity.distributions import (
    Beta,
    Chi2,
    ContinuousBernoulli,
    FisherSnedecor,
    Gamma,
    GeneralizedExtremeValue,
    GeneralizedPareto,
    HalfStudentT,
    Horseshoe,
    InverseGamma,
    InverseGaussian,
    Kumaraswamy,
    Pareto,
    StudentT,
    VonMises,
    Weibull,
)
from tests.distributions.catalogue.entry import Entry, FromDensity


class _Circular(FromDensity):
    """The von Mises distribution on [-pi, pi], with the moments of the circle."""

    def __init__(self, loc, concentration):
        scale = mpmath.log(2 * mpmath.pi * mpmath.besseli(0, concentration))
        width = min(1.0, concentration**-0.5)
        inner = [loc + z * width for z in (-6, -3, -1, 0, 1, 3, 6)]
        cuts = [-math.pi, *(c for c in inner if abs(c) < math.pi), math.pi]
        points = [loc + z * width for z in (-5, -2.5, -1, -0.3, 0.01, 0.7, 1.5, 2, 4.5)]
        super().__init__(
            lambda x: concentration * mpmath.cos(x - loc) - scale, cuts, [p for p in points if abs(p) < math.pi]
        )
        self._loc, self._concentration = loc, concentration

    def mean(self):
        return self._loc

    def var(self):
        return float(1 - mpmath.besseli(1, self._concentration) / mpmath.besseli(0, self._concentration))


class _Tilted(FromDensity):
    """The density on [0, 1] proportional to exp(logits x)."""

    def __init__(self, logits):
        scale = mpmath.log(mpmath.expm1(logits) / logits)
        end = [2.0**-k for k in (9, 7, 5, 3, 2, 1)]
        cuts = [0.0, *end, *(1 - e for e in reversed(end[:-1])), 1.0]
        points = [1e-30, 1e-9, 1e-4, 0.03, 0.2, 0.45, 0.6, 0.8, 0.96, 0.999]
        super().__init__(lambda x: logits * x - scale, cuts, points)


class _Mixed:
    """The horseshoe distribution: its density by scipy's exponential integral, its tail over the mixing scales."""

    def __init__(self, scale):
        self._scale = scale
        points = [-1e25, -1e8, -300.0, -4.0, -1.1, -0.2, -1e-3, 1e-12, 0.03, 0.5, 2.0, 30.0, 1e5, 1e20]
        self.points = scale * np.array(points)

    def logpdf(self, x):
        w = 0.5 * (np.asarray(x) / self._scale) ** 2
        near = np.exp(np.minimum(w, 100)) * special.exp1(np.minimum(w, 100))
        far = sum((-1) ** k * math.factorial(k) / np.maximum(w, 100) ** (k + 1) for k in range(20))
        return np.log(np.where(w < 100, near, far)) - np.log(self._scale) - 0.5 * np.log(2 * np.pi**3)

    def pdf(self, x):
        return np.exp(self.logpdf(x))

    def sf(self, x):
        # The mean over half-Cauchy scales e^-v of the normal tail, which the trapezoidal rule integrates.
        z = np.abs(np.asarray(x, dtype=float))[..., None] / self._scale
        v = np.arange(-100, 40, 0.05)
        tail = (stats.norm.sf(z * np.exp(v)) / np.cosh(v)).sum(-1) * 0.05 / np.pi
        return np.where(np.asarray(x) > 0, tail, 1 - tail)

    def cdf(self, x):
        return self.sf(-np.asarray(x))

    def logcdf(self, x):
        return np.log(self.cdf(x))

    def logsf(self, x):
        return np.log(self.sf(x))

    def mean(self):
        return math.nan

    def var(self):
        return math.nan

    def entropy(self):
        return 2.109871836061647724735 + math.log(self._scale)


def _half_t(df, scale):
    """Absolute values of scipy's Student's t."""
    t = stats.t(df)
    normaliser = float(t.logpdf(0))
    inner = [2.0**k for k in range(-40, 60, 2)] if df < 10 else [2.0**k for k in range(-40, 8, 2)]
    log_scale = mpmath.log(2) + normaliser - mpmath.log(scale)
    return FromDensity(
        lambda x: log_scale - (df + 1) / mpmath.mpf(2) * mpmath.log1p((x / scale) ** 2 / df),
        [0.0, *(scale * c for c in inner), mpmath.inf],
        [scale * c for c in (1e-30, 1e-9, 1e-4, 0.03, 0.4, 0.9, 1.7, 4.0, 9.0)],
    )


def _kumaraswamy(concentration1, concentration0):
    a, b = concentration1, concentration0
    ends = [2.0**-k for k in range(40, 1, -2)]
    return FromDensity(
        lambda x: mpmath.log(a * b) + (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log1p(-(x**a)),
        [0.0, *ends, *(1 - e for e in reversed(ends)), 1.0],
        [1e-9, 1e-4, 0.03, 0.2, 0.45, 0.6, 0.8, 0.96, 0.9990234375],
    )


GAMMA_KERNEL = "the incomplete gamma functions are stated to 4e-11, and to 2e-5 in float32"
BETA_KERNEL = "the incomplete beta functions and Student's t are stated to 2e-11"
TAILS = ("cdf", "log_cdf", "survival_function", "log_survival_function", "icdf")

ENTRIES: list[Entry] = [
    Entry(
        Gamma,
        [
            {"concentration": 2.5, "rate": 1.7},
            {"concentration": 0.3, "rate": 1e-3},
            {"concentration": 60.0, "rate": 4e4},
        ],
        lambda concentration, rate: stats.gamma(concentration, scale=1 / rate),
        bad={"concentration": 0.0, "rate": -1.0},
        outside=-0.5,
        looser=dict.fromkeys(TAILS, (20.0, GAMMA_KERNEL)),
    ),
    Entry(
        Chi2,
        [{"df": 3.5}, {"df": 0.8}, {"df": 90.0}],
        lambda df: stats.chi2(df),
        bad={"df": 0.0},
        outside=-0.5,
        looser=dict.fromkeys(TAILS, (20.0, GAMMA_KERNEL)),
    ),
    Entry(
        InverseGamma,
        [
            {"concentration": 2.5, "rate": 1.7},
            {"concentration": 0.7, "rate": 1e3},
            {"concentration": 60.0, "rate": 4e-3},
        ],
        lambda concentration, rate: stats.invgamma(concentration, scale=rate),
        bad={"concentration": 0.0, "rate": -1.0},
        outside=-0.5,
        looser=dict.fromkeys(TAILS, (20.0, GAMMA_KERNEL)),
    ),
    Entry(
        Weibull,
        [
            {"scale": 1.7, "concentration": 2.5},
            {"scale": 1e-3, "concentration": 0.4},
            {"scale": 3e4, "concentration": 25.0},
        ],
        lambda scale, concentration: stats.weibull_min(concentration, scale=scale),
        bad={"scale": 0.0, "concentration": -1.0},
        outside=-0.5,
    ),
    Entry(
        GeneralizedExtremeValue,
        [
            {"loc": 0.5, "scale": 1.7, "concentration": 0.2},
            {"loc": -3.0, "scale": 2e-2, "concentration": -0.1},
            {"loc": -10.0, "scale": 50.0, "concentration": 0.0},
        ],
        lambda loc, scale, concentration: stats.genextreme(-concentration, loc, scale),
        bad={"loc": math.nan, "scale": 0.0, "concentration": math.nan},
        outside=-9.0,
        kl=(0, 2),
    ),
    Entry(
        GeneralizedPareto,
        [
            {"loc": 0.5, "scale": 1.7, "concentration": 0.2},
            {"loc": -3.0, "scale": 2e-2, "concentration": -0.1},
            {"loc": -10.0, "scale": 50.0, "concentration": 0.0},
        ],
        lambda loc, scale, concentration: stats.genpareto(concentration, loc, scale),
        bad={"loc": math.nan, "scale": 0.0, "concentration": math.nan},
        outside=-0.5,
        kl=(1, 2),
    ),
    Entry(
        Pareto,
        [{"scale": 1.7, "alpha": 5.5}, {"scale": 0.5, "alpha": 1.2}, {"scale": 1e-3, "alpha": 30.0}],
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        bad={"scale": 0.0, "alpha": -1.0},
        outside=-0.5,
        kl=(0, 1),
    ),
    Entry(
        StudentT,
        [
            {"df": 4.5, "loc": 0.5, "scale": 1.7},
            {"df": 1.2, "loc": -3.0, "scale": 1e-2},
            {"df": 300.0, "loc": 20.0, "scale": 4e2},
        ],
        lambda df, loc, scale: stats.t(df, loc, scale),
        bad={"df": 0.0, "loc": math.nan, "scale": -1.0},
        pathwise=False,
        looser=dict.fromkeys(TAILS, (100.0, BETA_KERNEL)),
    ),
    Entry(
        HalfStudentT,
        [{"df": 4.5, "scale": 1.7}, {"df": 300.0, "scale": 4e2}],
        _half_t,
        bad={"df": 0.0, "scale": -1.0},
        outside=-0.5,
        pathwise=False,
        looser=dict.fromkeys(TAILS, (100.0, BETA_KERNEL)),
    ),
    Entry(
        Kumaraswamy,
        [{"concentration1": 2.5, "concentration0": 1.7}, {"concentration1": 0.8, "concentration0": 3.0}],
        _kumaraswamy,
        bad={"concentration1": 0.0, "concentration0": -1.0},
        outside=-0.5,
        pathwise=False,
    ),
    Entry(
        Beta,
        [
            {"concentration1": 2.5, "concentration0": 1.7},
            {"concentration1": 0.6, "concentration0": 0.8},
            {"concentration1": 40.0, "concentration0": 90.0},
        ],
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        bad={"concentration1": 0.0, "concentration0": -1.0},
        outside=-0.5,
        pathwise=False,
        looser=dict.fromkeys(TAILS, (100.0, BETA_KERNEL)),
    ),
    Entry(
        FisherSnedecor,
        [{"df1": 3.5, "df2": 9.0}, {"df1": 0.9, "df2": 2.5}, {"df1": 40.0, "df2": 90.0}],
        lambda df1, df2: stats.f(df1, df2),
        bad={"df1": 0.0, "df2": -1.0},
        outside=-0.5,
        pathwise=False,
        looser=dict.fromkeys(TAILS, (100.0, BETA_KERNEL)),
    ),
    Entry(
        VonMises,
        [{"loc": 0.3, "concentration": 9.0}, {"loc": -2.5, "concentration": 0.4}, {"loc": 1.0, "concentration": 500.0}],
        _Circular,
        bad={"loc": math.nan, "concentration": 0.0},
        outside=-4.0,
        pathwise=False,
    ),
    Entry(
        InverseGaussian,
        [{"loc": 1.3, "concentration": 2.5}, {"loc": 20.0, "concentration": 4.0}, {"loc": 1e-3, "concentration": 0.03}],
        lambda loc, concentration: stats.invgauss(loc / concentration, scale=concentration),
        bad={"loc": 0.0, "concentration": -1.0},
        outside=-0.5,
    ),
    Entry(
        ContinuousBernoulli,
        [{"logits": 1.3}, {"logits": -40.0}, {"logits": 1e-7}],
        _Tilted,
        bad={"logits": math.nan},
        outside=-0.5,
    ),
    Entry(
        Horseshoe,
        [{"scale": 1.7}, {"scale": 1e-3}],
        _Mixed,
        bad={"scale": 0.0},
    ),
]
