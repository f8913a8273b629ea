"""Continuous distributions over vectors and matrices."""

import math

import mpmath
import numpy as np
from scipy import special, stats

from posterity.distributions import (
    Dirichlet,
    GaussianRandomWalk,
    InverseWishart,
    LKJCholesky,
    LogisticNormal,
    LowRankMultivariateNormal,
    MatrixNormal,
    MultivariateNormal,
    MultivariateStudentT,
    PowerSpherical,
    VonMisesFisher,
    Wishart,
)
from tests.distributions.catalogue.multivariate_entry import MultivariateEntry

_FACTOR = [[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.9, 2.0]]
_NARROW = [[0.02, 0.0, 0.0], [0.5, 0.1, 0.0], [-3.0, 0.2, 30.0]]
_POINTS = [[0.0, 0.0, 0.0], [1.5, -0.25, 2.0], [-40.0, 25.0, 8.0]]
_SMALL = [[1.1, 0.0], [0.6, 0.8]]
_POSITIVE = [[[2.0, 0.5], [0.5, 1.0]], [[9.0, -4.0], [-4.0, 3.0]], [[0.5, 0.0], [0.0, 40.0]]]
_SPHERE = [[1.0, 0.0, 0.0], [0.0, -0.6, 0.8], [-0.48, 0.6, 0.64]]
_PROBABILITIES = [[0.25, 0.25, 0.5], [0.9375, 0.03125, 0.03125], [0.5, 2.0**-20, 0.5 - 2.0**-20]]


def _square(tril):
    return np.array(tril) @ np.array(tril).T


def _low_rank(cov_factor, cov_diag):
    return np.array(cov_factor) @ np.array(cov_factor).T + np.diag(cov_diag)


def _unit(x):
    return np.asarray(x) / np.linalg.norm(x)


def _student_log_prob(x, df, loc, scale_tril):
    z = np.linalg.solve(scale_tril, x - loc)
    n = len(loc)
    with mpmath.workdps(30):
        value = mpmath.loggamma((df + n) / mpmath.mpf(2)) - mpmath.loggamma(df / mpmath.mpf(2))
        value -= n * mpmath.log(df * mpmath.pi) / 2 + (df + n) * mpmath.log1p(float(z @ z) / mpmath.mpf(float(df))) / 2
    return float(value) - np.log(np.diag(scale_tril)).sum()


def _dirichlet_log_prob(x, concentration):
    x = np.append(x[:-1], 1 - x[:-1].sum())
    return stats.dirichlet(np.array(concentration)).logpdf(x)


def _breaks(x):
    """The normal numbers behind the pieces of a stick, from shares of what is left."""
    left = 1 - np.concatenate([[0.0], np.cumsum(x)[:-1]])
    shares = x[:-1] / left[:-1]
    return special.logit(shares) + np.log(np.arange(len(x) - 1, 0, -1)), shares, left[:-1]


def _logistic_normal_log_prob(x, loc, scale):
    entries, shares, left = _breaks(x)
    # d x_i / d entry_i = left_i share_i (1 - share_i), and the Jacobian is triangular.
    return stats.norm(loc, scale).logpdf(entries).sum() - np.log(left * shares * (1 - shares)).sum()


def _share(loc, scale, function):
    return float(mpmath.quad(lambda z: mpmath.npdf(z) * function(loc + scale * z), np.linspace(-12, 12, 41).tolist()))


def _logistic_normal_mean(loc, scale):
    left, pieces = 1.0, []
    for i, (m, s) in enumerate(zip(loc, scale, strict=True)):
        share = _share(m - math.log(len(loc) - i), s, lambda x: 1 / (1 + mpmath.exp(-x)))
        pieces.append(left * share)
        left *= 1 - share
    return np.array([*pieces, left])


def _logistic_normal_entropy(loc, scale):
    total = stats.norm(loc, scale).entropy().sum()
    for i, (m, s) in enumerate(zip(loc, scale, strict=True)):
        counts = len(loc) - i
        total -= _share(
            m - math.log(counts), s, lambda x, c=counts: mpmath.log1p(mpmath.exp(-x)) + c * mpmath.log1p(mpmath.exp(x))
        )
    return total


def _lkj_log_prob(x, concentration):
    # Row by row: the density (1 - |w|^2)^(a - 1) in the unit ball, whose integral runs over shells.
    dim, total = len(x), 0.0
    for i in range(1, dim):
        a = concentration + (dim - 1 - i) / 2
        sphere = 2 * math.pi ** (i / 2) / special.gamma(i / 2)
        volume = sphere * special.beta(i / 2, a) / 2
        total += 2 * (a - 1) * math.log(x[i, i]) - math.log(volume)
    return total


def _lkj_mean(concentration):
    rows = [stats.beta(concentration + (2 - i) / 2, i / 2).expect(np.sqrt) for i in (1, 2)]
    return np.diag([1.0, *rows])


def _lkj_entropy(concentration):
    total = 0.0
    for i in (1, 2):
        a = concentration + (2 - i) / 2
        volume = 2 * math.pi ** (i / 2) / special.gamma(i / 2) * special.beta(i / 2, a) / 2
        total += math.log(volume) - (a - 1) * stats.beta(a, i / 2).expect(np.log)
    return total


def _fisher_log_prob(x, loc, concentration):
    x, loc = (np.array([mpmath.mpf(float(v)) for v in vector]) for vector in (x, loc))
    cosine = (x @ loc) / mpmath.sqrt((x @ x) * (loc @ loc))
    kappa, order = mpmath.mpf(float(concentration)), mpmath.mpf(len(x)) / 2 - 1
    norm = (
        order * mpmath.log(kappa) - (order + 1) * mpmath.log(2 * mpmath.pi) - mpmath.log(mpmath.besseli(order, kappa))
    )
    return float(norm + kappa * cosine)


def _power_log_prob(x, loc, concentration):
    x, loc = (np.array([mpmath.mpf(float(v)) for v in vector]) for vector in (x, loc))
    cosine = (x @ loc) / mpmath.sqrt((x @ x) * (loc @ loc))
    beta = mpmath.mpf(len(x) - 1) / 2
    alpha = beta + mpmath.mpf(float(concentration))
    norm = (alpha + beta) * mpmath.log(2) + beta * mpmath.log(mpmath.pi)
    norm += mpmath.loggamma(alpha) - mpmath.loggamma(alpha + beta)
    return float(mpmath.mpf(float(concentration)) * mpmath.log1p(cosine) - norm)


def _power_mean_of(function, concentration, size):
    """E[function(t)] of the cosine t to the mean direction, by quadrature in t = 1 - v."""
    weight = lambda t: (1 + t) ** (concentration + (size - 3) / 2) * (1 - t) ** ((size - 3) / 2)  # noqa: E731
    cuts = [-1, 0, 0.9, 1]
    return float(mpmath.quad(lambda t: function(t) * weight(t), cuts) / mpmath.quad(weight, cuts))


def _power_entropy(loc, concentration):
    kappa, size = float(concentration), len(loc)
    shell = 2 * mpmath.pi ** ((size - 1) / 2) / mpmath.gamma((size - 1) / 2)
    weight = lambda t: (1 + t) ** (kappa + (size - 3) / 2) * (1 - t) ** ((size - 3) / 2)  # noqa: E731
    total = mpmath.log(shell * mpmath.quad(weight, [-1, 0, 0.9, 1]))
    return float(total) - kappa * _power_mean_of(mpmath.log1p, kappa, size)


def _inverse_wishart_entropy(df, scale_tril):
    # Of the inverses, whose Jacobian is |Y|^-(p + 1). scipy's own lacks a factor p on one log 2 (compared with draws).
    inverse = stats.wishart(float(df), np.linalg.inv(_square(scale_tril)))
    log_det = special.digamma((df - np.arange(2)) / 2).sum() + 2 * math.log(2) - 2 * np.log(np.diag(scale_tril)).sum()
    return inverse.entropy() - 3 * log_det


def _walk_covariance(scale):
    times = np.arange(1, 4)
    return scale**2 * np.minimum.outer(times, times)


def _walk_log_prob(x, scale):
    return stats.multivariate_normal(np.zeros(3), _walk_covariance(scale)).logpdf(x)


_ONE_OUTSIDE = [0.5, 0.6, 0.1]

ENTRIES = [
    MultivariateEntry(
        family=MultivariateNormal,
        settings=[
            {"loc": [0.5, -1.0, 2.0], "scale_tril": _FACTOR},
            {"loc": [1e-3, 10.0, 0.0], "scale_tril": _NARROW},
        ],
        values=_POINTS,
        log_prob=lambda x, loc, scale_tril: (
            -0.5 * np.square(np.linalg.solve(scale_tril, x - loc)).sum()
            - np.log(np.diag(scale_tril)).sum()
            - 1.5 * math.log(2 * math.pi)
        ),
        bad={"loc": [0.0, math.nan, 0.0], "scale_tril": [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]},
        outside=[0.0, math.nan, 0.0],
        mean=lambda loc, scale_tril: loc,
        entropy=lambda loc, scale_tril: stats.multivariate_normal(loc, _square(scale_tril)).entropy(),
    ),
    MultivariateEntry(
        family=LowRankMultivariateNormal,
        settings=[
            {"loc": [0.5, -1.0, 2.0, 0.0], "cov_factor": [[1.0], [0.5], [-2.0], [1.5]], "cov_diag": [0.5, 1, 2, 0.3]},
            {"loc": [0.0, 5.0, 0.0, 0.0], "cov_factor": [[0.1], [0.0], [3.0], [-4]], "cov_diag": [1e-2, 3, 0.5, 1.0]},
        ],
        values=[[0.0] * 4, [1.0, -2.0, 0.5, 0.25], [-4.0, 6.0, 20.0, 3.0]],
        log_prob=lambda x, loc, cov_factor, cov_diag: stats.multivariate_normal(
            loc, _low_rank(cov_factor, cov_diag)
        ).logpdf(x),
        bad={"loc": [math.nan] * 4, "cov_factor": [[math.nan]] * 4, "cov_diag": [1.0, 1.0, 0.0, 1.0]},
        outside=[0.0, math.nan, 0.0, 0.0],
        mean=lambda loc, cov_factor, cov_diag: loc,
        entropy=lambda loc, cov_factor, cov_diag: stats.multivariate_normal(
            loc, _low_rank(cov_factor, cov_diag)
        ).entropy(),
    ),
    MultivariateEntry(
        family=MultivariateStudentT,
        settings=[
            {"df": 9.0, "loc": [0.5, -1.0, 2.0], "scale_tril": _FACTOR},
            {"df": 1e6, "loc": [1e-3, 10.0, 0.0], "scale_tril": _FACTOR},
        ],
        values=_POINTS,
        log_prob=_student_log_prob,
        bad={"df": 0.0, "loc": [0.0, math.nan, 0.0], "scale_tril": np.zeros((3, 3)).tolist()},
        outside=[0.0, math.nan, 0.0],
        mean=lambda df, loc, scale_tril: loc,
        entropy=lambda df, loc, scale_tril: float(
            -mpmath.loggamma((df + 3) / 2)
            + mpmath.loggamma(df / 2)
            + 1.5 * mpmath.log(df * mpmath.pi)
            + (df + 3) / 2 * (mpmath.digamma((df + 3) / 2) - mpmath.digamma(df / 2))
            + float(np.log(np.diag(scale_tril)).sum())
        ),
        refused={"kl": "no closed form"},
    ),
    MultivariateEntry(
        family=Dirichlet,
        settings=[{"concentration": [2.0, 3.5, 1.25]}, {"concentration": [0.5, 20.0, 0.125]}],
        values=_PROBABILITIES,
        log_prob=_dirichlet_log_prob,
        bad={"concentration": [1.0, 0.0, 1.0]},
        outside=_ONE_OUTSIDE,
        mean=lambda concentration: stats.dirichlet(concentration).mean(),
        entropy=lambda concentration: stats.dirichlet(concentration).entropy(),
    ),
    MultivariateEntry(
        family=LogisticNormal,
        settings=[{"loc": [0.3, -0.5], "scale": [1.0, 0.7]}, {"loc": [2.0, 0.0], "scale": [3.0, 0.2]}],
        values=_PROBABILITIES[:2],
        log_prob=_logistic_normal_log_prob,
        bad={"loc": [0.0, math.nan], "scale": [1.0, 0.0]},
        outside=_ONE_OUTSIDE,
        mean=_logistic_normal_mean,
        entropy=_logistic_normal_entropy,
        refused={"mode": "LogisticNormal.mode has no closed form"},
    ),
    MultivariateEntry(
        family=LKJCholesky,
        fixed={"dim": 3},
        settings=[{"concentration": 1.5}, {"concentration": 0.6}],
        values=[
            np.eye(3).tolist(),
            [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.48, -0.6, 0.64]],
            [[1.0, 0.0, 0.0], [-0.96, 0.28, 0.0], [0.6, 0.64, 0.48]],
        ],
        log_prob=_lkj_log_prob,
        bad={"concentration": 0.0},
        outside=[[1.0, 0.0, 0.0], [0.6, 0.9, 0.0], [0.0, 0.0, 1.0]],
        mean=_lkj_mean,
        entropy=_lkj_entropy,
    ),
    MultivariateEntry(
        family=Wishart,
        settings=[{"df": 5.0, "scale_tril": _SMALL}, {"df": 2.5, "scale_tril": [[0.3, 0.0], [-2.0, 1.5]]}],
        values=_POSITIVE,
        log_prob=lambda x, df, scale_tril: stats.wishart(float(df), _square(scale_tril)).logpdf(x),
        bad={"df": 1.0, "scale_tril": [[1.0, 0.5], [0.0, 1.0]]},
        outside=[[1.0, 2.0], [2.0, 1.0]],
        mean=lambda df, scale_tril: df * _square(scale_tril),
        entropy=lambda df, scale_tril: stats.wishart(float(df), _square(scale_tril)).entropy(),
    ),
    MultivariateEntry(
        family=InverseWishart,
        settings=[{"df": 16.0, "scale_tril": _SMALL}, {"df": 13.5, "scale_tril": [[0.3, 0.0], [-2.0, 1.5]]}],
        values=_POSITIVE,
        log_prob=lambda x, df, scale_tril: stats.invwishart(float(df), _square(scale_tril)).logpdf(x),
        bad={"df": 1.0, "scale_tril": [[1.0, 0.5], [0.0, 1.0]]},
        outside=[[1.0, 2.0], [2.0, 1.0]],
        mean=lambda df, scale_tril: _square(scale_tril) / (df - 3),
        entropy=_inverse_wishart_entropy,
    ),
    MultivariateEntry(
        family=MatrixNormal,
        settings=[
            {"loc": [[0.5, -1.0, 2.0], [0.0, 1.0, 0.0]], "scale_tril_row": _SMALL, "scale_tril_column": _FACTOR},
            {
                "loc": [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]],
                "scale_tril_row": [[0.3, 0.0], [-2.0, 1.5]],
                "scale_tril_column": _FACTOR,
            },
        ],
        values=[np.zeros((2, 3)).tolist(), [[1.0, -2.0, 0.5], [3.0, 0.25, -8.0]]],
        log_prob=lambda x, loc, scale_tril_row, scale_tril_column: stats.matrix_normal(
            loc, _square(scale_tril_row), _square(scale_tril_column)
        ).logpdf(x),
        bad={
            "loc": [[math.nan, 0.0, 0.0], [0.0, 0.0, 0.0]],
            "scale_tril_row": [[1.0, 0.5], [0.0, 1.0]],
            "scale_tril_column": np.zeros((3, 3)).tolist(),
        },
        outside=[[0.0, math.nan, 0.0], [0.0, 0.0, 0.0]],
        mean=lambda loc, scale_tril_row, scale_tril_column: loc,
        entropy=lambda loc, scale_tril_row, scale_tril_column: stats.matrix_normal(
            loc, _square(scale_tril_row), _square(scale_tril_column)
        ).entropy(),
    ),
    MultivariateEntry(
        family=VonMisesFisher,
        settings=[
            {"loc": [0.6, 0.0, 0.8], "concentration": 4.0},
            {"loc": [-0.48, 0.6, 0.64], "concentration": 250.0},
        ],
        values=_SPHERE,
        log_prob=_fisher_log_prob,
        bad={"loc": [1.0, 1.0, 0.0], "concentration": -1.0},
        outside=[1.0, 0.1, 0.0],
        mean=lambda loc, concentration: loc * (1 / math.tanh(concentration) - 1 / concentration),
        entropy=lambda loc, concentration: stats.vonmises_fisher(_unit(loc), float(concentration)).entropy(),
    ),
    MultivariateEntry(
        family=PowerSpherical,
        settings=[
            {"loc": [0.6, 0.0, 0.8], "concentration": 4.0},
            {"loc": [-0.48, 0.6, 0.64], "concentration": 250.0},
        ],
        values=_SPHERE,
        log_prob=_power_log_prob,
        bad={"loc": [1.0, 1.0, 0.0], "concentration": -1.0},
        outside=[1.0, 0.1, 0.0],
        mean=lambda loc, concentration: loc * _power_mean_of(lambda t: t, float(concentration), len(loc)),
        entropy=_power_entropy,
        refused={"kl": "no closed form between different directions"},
    ),
    MultivariateEntry(
        family=GaussianRandomWalk,
        fixed={"num_steps": 3},
        settings=[{"scale": 0.7}, {"scale": 30.0}],
        values=_POINTS,
        log_prob=_walk_log_prob,
        bad={"scale": 0.0},
        outside=[0.0, math.nan, 0.0],
        mean=lambda scale: np.zeros(3),
        entropy=lambda scale: stats.multivariate_normal(np.zeros(3), _walk_covariance(scale)).entropy(),
    ),
]
