"""Distributions whose tails are elementary functions, or the normal's."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np
from scipy import stats

from posterity.distributions import (
    AsymmetricLaplace,
    Cauchy,
    ExponentiallyModifiedGaussian,
    HalfCauchy,
    HalfNormal,
    JohnsonSU,
    Levy,
    Logistic,
    LogitNormal,
    LogLogistic,
    LogNormal,
    Moyal,
    SinhArcsinh,
    SkewNormal,
    Triangular,
    TruncatedNormal,
    Uniform,
)
from tests.distributions.catalogue.entry import Entry, FromDensity
from tests.distributions.catalogue.real_line import BAD_LOC_SCALE, LOC_SCALE


class Corrected:
    """A frozen distribution of scipy with some statistics, numbers or functions, in its place."""

    def __init__(self, frozen: Any, **statistics: Any) -> None:
        self._frozen, self._statistics = frozen, statistics

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._statistics:
            found = self._statistics[name]
            return found if callable(found) else lambda: found
        return getattr(self._frozen, name)


def in_digits(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function of mpmath's numbers in 40 digits, value by value."""

    def each(x: Any) -> Any:
        with mpmath.workdps(40):
            return np.array([float(function(mpmath.mpf(float(v)))) for v in np.ravel(x)]).reshape(np.shape(x))

    return each


class FromTails(FromDensity):
    """A reference made of the log density and both tails, in 40 digits; moments by quadrature between the cuts."""

    def __init__(self, log_density: Any, below: Any, above: Any, cuts: Any, points: Any) -> None:
        super().__init__(log_density, cuts, points)
        self.logpdf, self.cdf, self.sf = in_digits(log_density), in_digits(below), in_digits(above)

    def mean(self) -> float:
        with mpmath.workdps(30):
            return super().mean()

    def var(self) -> float:
        with mpmath.workdps(30):
            mean = self._integral(lambda t: t, self._cuts)
            return float(self._integral(lambda t: (t - mean) ** 2, self._cuts))


class Warped:
    """A reference for an increasing function of a standard normal variable.

    Means are sums over a fine grid: for analytic functions the trapezoidal rule converges geometrically.
    """

    def __init__(self, forward: Any, inverse: Any, log_slope: Any, log_slope_at: Any = None) -> None:
        self._forward, self._inverse, self._log_slope = forward, inverse, log_slope
        self._log_slope_at = log_slope_at or (lambda z: log_slope(forward(z)))

    def logpdf(self, x: Any) -> Any:
        return stats.norm.logpdf(self._inverse(x)) + self._log_slope(x)

    def pdf(self, x: Any) -> Any:
        return np.exp(self.logpdf(x))

    def cdf(self, x: Any) -> Any:
        return stats.norm.cdf(self._inverse(x))

    def sf(self, x: Any) -> Any:
        return stats.norm.sf(self._inverse(x))

    def logcdf(self, x: Any) -> Any:
        return stats.norm.logcdf(self._inverse(x))

    def logsf(self, x: Any) -> Any:
        return stats.norm.logsf(self._inverse(x))

    def ppf(self, level: Any) -> Any:
        return self._forward(stats.norm.ppf(level))

    def isf(self, level: Any) -> Any:
        return self._forward(stats.norm.isf(level))

    def median(self) -> float:
        return float(self._forward(0.0))

    def mean(self) -> float:
        return self._expectation(lambda x: x)

    def var(self) -> float:
        mean = self.mean()
        return self._expectation(lambda x: (x - mean) ** 2)

    def entropy(self) -> float:
        return 0.5 * math.log(2 * math.pi * math.e) - self._average(self._log_slope_at)

    def _expectation(self, function: Callable[[Any], Any]) -> float:
        return self._average(lambda z: function(self._forward(z)))

    def _average(self, function: Callable[[Any], Any]) -> float:
        z = np.arange(-640, 641) / 32
        return math.fsum(function(z) * np.exp(-0.5 * z**2)) / 32 / math.sqrt(2 * math.pi)


def logit_normal(loc: float, scale: float) -> Warped:
    return Warped(
        lambda z: 1 / (1 + np.exp(-loc - scale * z)),
        lambda x: (np.log(x) - np.log1p(-x) - loc) / scale,
        lambda x: -np.log(x) - np.log1p(-x) - math.log(scale),
        lambda z: np.abs(loc + scale * z) + 2 * np.log1p(np.exp(-np.abs(loc + scale * z))) - math.log(scale),
    )


def johnson_su(skewness: float, tailweight: float, loc: float, scale: float) -> Warped:
    return Warped(
        lambda z: loc + scale * np.sinh((z - skewness) / tailweight),
        lambda x: skewness + tailweight * np.arcsinh((x - loc) / scale),
        lambda x: math.log(tailweight / scale) - np.log(np.hypot(1, (x - loc) / scale)),
    )


def sinh_arcsinh(loc: float, scale: float, skewness: float, tailweight: float) -> Warped:
    def bent(x: Any) -> Any:
        return np.arcsinh((x - loc) / scale) / tailweight - skewness

    return Warped(
        lambda z: loc + scale * np.sinh(tailweight * (np.arcsinh(z) + skewness)),
        lambda x: np.sinh(bent(x)),
        lambda x: np.log(np.cosh(bent(x))) - np.log(np.hypot(1, (x - loc) / scale)) - math.log(tailweight * scale),
    )


def truncated_normal(loc: float, scale: float, low: float, high: float) -> FromTails:
    with mpmath.workdps(40):
        a, b = (mpmath.mpf(low) - loc) / scale, (mpmath.mpf(high) - loc) / scale
        mass = mpmath.ncdf(-a) - mpmath.ncdf(-b) if a > 0 else mpmath.ncdf(b) - mpmath.ncdf(a)
        height = mpmath.log(scale * mpmath.sqrt(2 * mpmath.pi) * mass)

    def between(lower: Any, upper: Any) -> Any:
        if lower > 0:
            lower, upper = -upper, -lower
        return (mpmath.ncdf(upper) - mpmath.ncdf(lower)) / mass

    near, far = max(low, loc - 30 * scale), min(high, loc + 30 * scale)
    width = min(far - near, scale * 20)
    start = near if abs(a) < abs(b) else far
    sign = 1 if start == near else -1
    steps = [1e-5, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7]
    inner = sorted(start + sign * s * width for s in steps)
    return FromTails(
        lambda x: -(((x - loc) / scale) ** 2) / 2 - height,
        lambda x: between(a, (x - loc) / scale),
        lambda x: between((x - loc) / scale, b),
        [low, *inner, high],
        inner,
    )


def exponentially_modified_gaussian(loc: float, scale: float, rate: float) -> Corrected:
    a = mpmath.mpf(rate) * scale

    def tilted(x: Any) -> Any:
        z = (x - loc) / scale
        return mpmath.exp(a**2 / 2 - a * z) * mpmath.ncdf(z - a)

    cuts = [loc + scale * z for z in (-20.0, -9.0, -4.0, -1.0, 0.0, 1.0, 3.0, 8.0)]
    cuts += [cuts[-1] + t / rate for t in (1.0, 10.0, 80.0)]
    reference = FromTails(
        lambda x: mpmath.log(rate * tilted(x)),
        lambda x: mpmath.ncdf((x - loc) / scale) - tilted(x),
        lambda x: mpmath.ncdf((loc - x) / scale) + tilted(x),
        cuts,
        [*cuts[:-1], loc + 0.5 * scale, loc + scale / 3 + 0.7 / rate],
    )
    return Corrected(reference, mean=loc + 1 / rate, var=scale**2 + rate**-2)


@cache
def _light_tail(h: Any, a: Any) -> Any:
    """The probability below -h of the standard skew normal with positive slant a, for positive h."""
    with mpmath.workdps(25):
        step = min(mpmath.mpf(1), 1 / (h * h * a + h))
        # quad's accuracy is absolute: the integral is brought to the order of 1.
        cuts = [0, 1, 5, 20, 80, mpmath.inf]
        integral = mpmath.quad(
            lambda u: mpmath.exp(-(h**2) * u * step * (a + u * step / 2)) / (1 + (a + u * step) ** 2), cuts
        )
        return integral * step * mpmath.exp(-(h**2) * (1 + a * a) / 2) / mpmath.pi


def _skew_cdf(z: Any, slant: Any) -> Any:
    if z == 0:
        return mpmath.mpf(1) / 2 - mpmath.atan(slant) / mpmath.pi
    if z > 0:
        return 1 - _skew_cdf(-z, -slant)
    return _light_tail(-z, slant) if slant > 0 else 2 * mpmath.ncdf(z) - _light_tail(-z, -slant)


def skew_normal(loc: float, scale: float, skewness: float) -> Corrected:
    exact, slant = stats.skewnorm(skewness, loc, scale), mpmath.mpf(skewness)
    edge = [-9.0, -4.0, -2.0, -0.5, 0.0, 0.5, 2.0, 4.0, 9.0]
    z = sorted({*edge, *(v / skewness for v in edge)})
    points = [loc + scale * v for v in z]
    below = in_digits(lambda x: _skew_cdf((x - loc) / scale, slant))
    above = in_digits(lambda x: _skew_cdf((loc - x) / scale, -slant))
    reference = FromDensity(
        lambda x: mpmath.log(2 * mpmath.npdf((x - loc) / scale) * mpmath.ncdf(skewness * (x - loc) / scale) / scale),
        points,
        points,
    )
    # For the many values of a goodness-of-fit test scipy, which is accurate where they lie.
    return Corrected(
        reference,
        cdf=lambda x: exact.cdf(x) if np.size(x) > 100 else below(x),
        sf=above,
        logcdf=lambda x: np.log(below(x)),
        logsf=lambda x: np.log(above(x)),
        mean=float(exact.mean()),
        var=float(exact.var()),
    )


def asymmetric_laplace(loc: float, scale: float, asymmetry: float) -> Corrected:
    def tail(z: Any, k: Any) -> Any:
        return mpmath.exp(-k * z) / (1 + k * k) if z > 0 else 1 - mpmath.exp(z / k) * k * k / (1 + k * k)

    below = in_digits(lambda x: tail((loc - x) / scale, 1 / mpmath.mpf(asymmetry)))
    above = in_digits(lambda x: tail((x - loc) / scale, mpmath.mpf(asymmetry)))
    return Corrected(stats.laplace_asymmetric(asymmetry, loc, scale), cdf=below, sf=above)


def triangular(low: float, high: float, peak: float) -> FromTails:
    width = mpmath.mpf(high) - low

    def below(x: Any) -> Any:
        if x <= low or x >= high:
            return 0 if x <= low else 1
        return (x - low) ** 2 / (width * (peak - low)) if x < peak else 1 - (high - x) ** 2 / (width * (high - peak))

    def log_density(x: Any) -> Any:
        share = 1 if x == peak else (x - low) / (peak - low) if x < peak else (high - x) / (high - peak)
        return mpmath.log(2 * share / width) if share else -mpmath.inf

    shares = [1e-12, 1e-6, 0.01, 0.1, 0.3]
    ends = [low + s * (high - low) for s in shares] + [high - s * (high - low) for s in shares]
    return FromTails(log_density, below, lambda x: 1 - below(x), sorted({low, peak, high}), ends)


def levy(loc: float, scale: float) -> Corrected:
    entropy = math.log(scale) + 0.5 * (1 + 3 * np.euler_gamma + math.log(16 * math.pi))
    return Corrected(stats.levy(loc, scale), entropy=entropy)


def moyal(loc: float, scale: float) -> Corrected:
    entropy = math.log(scale) + 0.5 * (math.log(2) + np.euler_gamma + 1 + math.log(2 * math.pi))
    return Corrected(stats.moyal(loc, scale), entropy=entropy)


def log_logistic(scale: float, concentration: float) -> Corrected:
    with mpmath.workdps(30):
        b = mpmath.pi / concentration
        mean = scale * b / mpmath.sin(b) if concentration > 1 else math.inf
        variance = scale**2 * 2 * b / mpmath.sin(2 * b) - mean**2 if concentration > 2 else math.inf
    above = in_digits(lambda x: 1 / (1 + (x / scale) ** concentration))
    return Corrected(
        stats.fisk(concentration, scale=scale),
        sf=above,
        logsf=lambda x: np.log(above(x)),
        mean=float(mean),
        var=float(variance),
    )


SHAPED = {"skewness": 0.4, "tailweight": 1.5}

ENTRIES = [
    Entry(
        LogNormal,
        [{"loc": 0.75, "scale": 0.5}, {"loc": -2.0, "scale": 1.5}, {"loc": 3.0, "scale": 0.1}],
        lambda loc, scale: stats.lognorm(scale, scale=math.exp(loc)),
        BAD_LOC_SCALE,
        outside=-0.5,
    ),
    Entry(
        HalfNormal,
        [{"scale": 1.3}, {"scale": 1e-6}, {"scale": 4e5}],
        lambda scale: stats.halfnorm(scale=scale),
        {"scale": 0.0},
        outside=-0.5,
    ),
    Entry(
        TruncatedNormal,
        [
            {"loc": 0.5, "scale": 0.75, "low": -1.0, "high": 2.0},
            {"loc": 0.25, "scale": 2.0, "low": -1.0, "high": math.inf},
            {"loc": 0.0, "scale": 0.5, "low": 4.0, "high": math.inf},
            {"loc": 1.0, "scale": 2.0, "low": -math.inf, "high": -3.0},
            {"loc": 0.0, "scale": 1.0, "low": 2.0, "high": 2.125},
        ],
        truncated_normal,
        {"loc": math.nan, "scale": -1.0, "low": math.nan, "high": -1.5},
        outside=-1.5,
        fit={"low": -1.0, "high": 2.0},
    ),
    Entry(
        SkewNormal,
        [
            {"loc": 0.75, "scale": 1.3, "skewness": 3.0},
            {"loc": -2.0, "scale": 3.0, "skewness": -0.75},
            {"loc": 0.0, "scale": 1.0, "skewness": 20.0},
        ],
        skew_normal,
        {"loc": math.nan, "scale": -1.0, "skewness": math.nan},
        looser={"log_survival_function": (2.0, "near 1 the kernel is off by up to 40 units of rounding in float32")},
        pathwise=False,
    ),
    Entry(
        Uniform,
        [{"low": -1.0, "high": 2.0}, {"low": -3.0, "high": 4.5}, {"low": 0.0, "high": 1e-8}],
        lambda low, high: stats.uniform(low, high - low),
        {"low": math.nan, "high": -1.0},
        outside=2.5,
    ),
    Entry(
        Triangular,
        [
            {"low": -1.0, "high": 3.0, "peak": 0.5},
            {"low": -2.0, "high": 4.0, "peak": 2.0},
            {"low": 0.0, "high": 1.0, "peak": 0.0},
            {"low": 0.0, "high": 5.0, "peak": 5.0},
        ],
        triangular,
        {"low": math.nan, "high": -2.0, "peak": 3.5},
        outside=3.5,
    ),
    Entry(Cauchy, LOC_SCALE, lambda loc, scale: Corrected(stats.cauchy(loc, scale), var=math.inf), BAD_LOC_SCALE),
    Entry(
        HalfCauchy,
        [{"scale": 1.3}, {"scale": 1e-6}, {"scale": 4e5}],
        lambda scale: stats.halfcauchy(scale=scale),
        {"scale": 0.0},
        outside=-0.5,
    ),
    Entry(Logistic, LOC_SCALE, lambda loc, scale: stats.logistic(loc, scale), BAD_LOC_SCALE),
    Entry(
        LogLogistic,
        [
            {"scale": 1.3, "concentration": 4.0},
            {"scale": 0.5, "concentration": 2.25},
            {"scale": 3.0, "concentration": 0.75},
            {"scale": 20.0, "concentration": 100.0},
        ],
        log_logistic,
        {"scale": 0.0, "concentration": -1.0},
        outside=-0.5,
    ),
    Entry(
        AsymmetricLaplace,
        [
            {"loc": 0.75, "scale": 1.3, "asymmetry": 0.75},
            {"loc": -2.0, "scale": 3.0, "asymmetry": 4.0},
            {"loc": 0.0, "scale": 1e-6, "asymmetry": 0.01},
        ],
        asymmetric_laplace,
        {"loc": math.nan, "scale": -1.0, "asymmetry": 0.0},
    ),
    Entry(
        LogitNormal,
        [{"loc": 0.75, "scale": 1.3}, {"loc": -2.0, "scale": 0.25}, {"loc": 0.0, "scale": 3.0}],
        logit_normal,
        BAD_LOC_SCALE,
        outside=1.5,
    ),
    Entry(
        SinhArcsinh,
        [
            {"loc": 0.75, "scale": 1.3, **SHAPED},
            {"loc": -2.0, "scale": 3.0, "skewness": -0.5, "tailweight": 0.75},
            {"loc": 0.0, "scale": 1.0, "skewness": 0.0, "tailweight": 1.0},
        ],
        sinh_arcsinh,
        {**BAD_LOC_SCALE, "skewness": math.nan, "tailweight": 0.0},
    ),
    Entry(
        JohnsonSU,
        [
            {**SHAPED, "loc": 0.75, "scale": 1.3},
            {"skewness": -2.0, "tailweight": 3.0, "loc": -2.0, "scale": 3.0},
            {"skewness": 0.0, "tailweight": 1.0, "loc": 0.0, "scale": 1.0},
        ],
        johnson_su,
        {"skewness": math.nan, "tailweight": 0.0, **BAD_LOC_SCALE},
    ),
    Entry(
        Levy,
        [{"loc": 0.75, "scale": 1.3}, {"loc": -2.0, "scale": 3.0}, {"loc": 0.0, "scale": 1e-6}],
        levy,
        BAD_LOC_SCALE,
        outside=0.5,
    ),
    Entry(Moyal, LOC_SCALE, moyal, BAD_LOC_SCALE),
    Entry(
        ExponentiallyModifiedGaussian,
        [
            {"loc": 0.75, "scale": 1.3, "rate": 0.5},
            {"loc": -2.0, "scale": 3.0, "rate": 2.0},
            {"loc": 0.0, "scale": 0.01, "rate": 1.5},
        ],
        exponentially_modified_gaussian,
        {**BAD_LOC_SCALE, "rate": 0.0},
        pathwise=False,
    ),
]
