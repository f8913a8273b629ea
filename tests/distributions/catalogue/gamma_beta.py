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
        self._scale = 2 * np.pi * special.ive(0, concentration)

    def cdf(self, x):
        x = np.asarray(x)
        if x.size < 100:
            return super().cdf(x)
        # Many at once: a Gauss rule between neighbours, in double precision.
        ends = np.unique(np.concatenate([x.ravel(), self._cuts]))
        nodes, weights = np.polynomial.legendre.leggauss(20)
        halves = 0.5 * np.diff(ends)
        angles = 0.5 * (ends[1:] + ends[:-1])[:, None] + halves[:, None] * nodes
        heights = np.exp(self._concentration * (np.cos(angles - self._loc) - 1)) / self._scale
        sums = np.concatenate([[0.0], np.cumsum(halves * (heights @ weights))])
        return sums[np.searchsorted(ends, x)]

    def mean(self):
        return self._loc

    def var(self):
        return float(1 - mpmath.besseli(1, self._concentration) / mpmath.besseli(0, self._concentration))


class _Tilted(FromDensity):
    """The density on [0, 1] proportional to exp(logits x), with its closed forms in 50 digits."""

    def __init__(self, logits):
        points = [1e-30, 1e-9, 1e-4, 0.03, 0.2, 0.45, 0.6, 0.8, 0.96, 0.999]
        with mpmath.workdps(50):
            self._tilt = mpmath.mpf(logits)
            self._scale = mpmath.log(mpmath.expm1(self._tilt) / self._tilt)
        super().__init__(lambda x: self._tilt * x - self._scale, [0.0, 1.0], points)

    def cdf(self, x):
        return self._each(lambda v: mpmath.expm1(self._tilt * v) / mpmath.expm1(self._tilt), x)

    def sf(self, x):
        return self._each(lambda v: mpmath.expm1(self._tilt * (v - 1)) / mpmath.expm1(-self._tilt), x)

    def mean(self):
        with mpmath.workdps(50):
            return float(self._precise_mean())

    def var(self):
        with mpmath.workdps(50):
            return float(1 / self._tilt**2 - 1 / (4 * mpmath.sinh(self._tilt / 2) ** 2))

    def entropy(self):
        with mpmath.workdps(50):
            return float(self._scale - self._tilt * self._precise_mean())

    def _precise_mean(self):
        return -1 / mpmath.expm1(-self._tilt) - 1 / self._tilt


class _Mixed:
    """The horseshoe distribution: its density by scipy's exponential integral, its tail over the mixing scales."""

    def __init__(self, scale):
        self._scale = scale
        points = [-1e25, -1e8, -300.0, -4.0, -0.2, -1e-3, -1e-12, 0.03, 0.5, 1.1, 2.0, 30.0, 1e5, 1e20]
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


class _HalfT:
    """Absolute values of scipy's Student's t."""

    def __init__(self, df, scale):
        self._df, self._scale, self._t = df, scale, stats.t(df, scale=scale)
        self.points = scale * np.array([1e-30, 1e-9, 1e-4, 0.03, 0.4, 0.9, 1.7, 4.0, 9.0])

    def logpdf(self, x):
        return np.log(2) + self._t.logpdf(x)

    def pdf(self, x):
        return 2 * self._t.pdf(x)

    def cdf(self, x):
        square = (np.asarray(x) / self._scale) ** 2
        return special.betainc(0.5, self._df / 2, square / (self._df + square))

    def sf(self, x):
        return 2 * self._t.sf(x)

    def logcdf(self, x):
        return np.log(self.cdf(x))

    def logsf(self, x):
        return np.log(self.sf(x))

    def mean(self):
        return 2 * self._scale * float(stats.t(self._df).pdf(0)) * self._df / (self._df - 1)

    def var(self):
        return float(self._t.var()) - self.mean() ** 2

    def entropy(self):
        return float(self._t.entropy()) - math.log(2)


class _Kumaraswamy:
    """Its closed forms in numpy."""

    def __init__(self, concentration1, concentration0):
        self._a, self._b = concentration1, concentration0
        self.points = np.array([1e-9, 1e-4, 0.03, 0.2, 0.45, 0.6, 0.8, 0.96, 0.9990234375])

    def logpdf(self, x):
        a, b = self._a, self._b
        return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * np.log1p(-(np.asarray(x) ** a))

    def pdf(self, x):
        return np.exp(self.logpdf(x))

    def cdf(self, x):
        return -np.expm1(self.logsf(x))

    def sf(self, x):
        return np.exp(self.logsf(x))

    def logcdf(self, x):
        return np.log(self.cdf(x))

    def logsf(self, x):
        return self._b * np.log1p(-(np.asarray(x) ** self._a))

    def mean(self):
        return self._moment(1)

    def var(self):
        return self._moment(2) - self._moment(1) ** 2

    def entropy(self):
        a, b = self._a, self._b
        return 1 - 1 / b + (1 - 1 / a) * (special.digamma(b + 1) + np.euler_gamma) - math.log(a * b)

    def _moment(self, order):
        return self._b * float(special.beta(1 + order / self._a, self._b))


# Factors in float64, a little above what is measured at these points. Float32 is computed in double and needs none.
GAMMA_KERNEL = "the incomplete gamma functions are stated to 2.1e-11, and here are accurate to 5e-13"
GAMMA_TAILS = {
    **dict.fromkeys(("cdf", "survival_function", "icdf"), (3.5, GAMMA_KERNEL)),
    **dict.fromkeys(("log_cdf", "log_survival_function"), (5.0, GAMMA_KERNEL)),
}
CHI2_TAILS = dict.fromkeys(("log_cdf", "log_survival_function"), (2.0, GAMMA_KERNEL))

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
        looser=GAMMA_TAILS,
        looser_in_float32=False,
    ),
    Entry(
        Chi2,
        [{"df": 3.5}, {"df": 0.8}, {"df": 90.0}],
        lambda df: stats.chi2(df),
        bad={"df": 0.0},
        outside=-0.5,
        looser=CHI2_TAILS,
        looser_in_float32=False,
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
        looser=GAMMA_TAILS,
        looser_in_float32=False,
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
    ),
    Entry(
        HalfStudentT,
        [{"df": 4.5, "scale": 1.7}, {"df": 300.0, "scale": 4e2}],
        _HalfT,
        bad={"df": 0.0, "scale": -1.0},
        outside=-0.5,
        pathwise=False,
    ),
    Entry(
        Kumaraswamy,
        [{"concentration1": 2.5, "concentration0": 1.7}, {"concentration1": 0.8, "concentration0": 3.0}],
        _Kumaraswamy,
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
    ),
    Entry(
        FisherSnedecor,
        [{"df1": 3.5, "df2": 9.0}, {"df1": 0.9, "df2": 2.5}, {"df1": 40.0, "df2": 90.0}],
        lambda df1, df2: stats.f(df1, df2),
        bad={"df1": 0.0, "df2": -1.0},
        outside=-0.5,
        pathwise=False,
    ),
    Entry(
        VonMises,
        [{"loc": 0.3, "concentration": 9.0}, {"loc": -2.5, "concentration": 0.4}, {"loc": 1.0, "concentration": 500.0}],
        _Circular,
        bad={"loc": math.nan, "concentration": 0.0},
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
