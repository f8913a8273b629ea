"""Distributions over one-hot vectors and vectors of counts, and their relaxations."""

import math
from itertools import product
from typing import Any

import numpy as np
from scipy import special, stats

from posterity.distributions import (
    DirichletMultinomial,
    ExpRelaxedOneHotCategorical,
    Multinomial,
    OneHotCategorical,
    RelaxedOneHotCategorical,
)
from tests.distributions.catalogue.multivariate_entry import MultivariateEntry

_NO_INTEGRAL = dict.fromkeys(("mean", "variance", "entropy"), "out of reach of quadrature")


def _counts(total_count: float, num: int) -> list[np.ndarray]:
    n = int(total_count)
    return [np.array(k, dtype=float) for k in product(range(n + 1), repeat=num) if sum(k) == n]


def _multinomial(x: Any, total_count: Any, probs: Any) -> float:
    probs = np.asarray(probs, dtype=float)
    return float(stats.multinomial(int(total_count), probs / probs.sum()).logpmf(x))


def _dirichlet_multinomial(x: Any, concentration: Any, total_count: Any) -> float:
    return float(stats.dirichlet_multinomial(np.asarray(concentration, dtype=float), int(total_count)).logpmf(x))


def _relaxed(x: Any, temperature: Any, probs: Any) -> float:
    # Equation 10 of Maddison et al. (2017), by the letter.
    weights = np.asarray(probs, dtype=float) / np.sum(probs)
    num, t = len(weights), float(temperature)
    ratio = np.prod(weights * x ** (-t - 1)) / np.sum(weights * x**-t) ** num
    return float(special.gammaln(num) + (num - 1) * math.log(t) + math.log(ratio))


def _entropy(masses: list[float]) -> float:
    return -math.fsum(m * math.log(m) for m in masses if m > 0)


ENTRIES = [
    MultivariateEntry(
        OneHotCategorical,
        [{"probs": [0.15, 0.25, 0.6]}, {"probs": [0.9, 0.05, 0.05]}],
        values=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        log_prob=lambda x, probs: math.log(x @ probs / np.sum(probs)),
        bad={"probs": [0.5, -0.5, 1.0]},
        outside=[1.0, 1.0, 0.0],
        mean=lambda probs: probs / probs.sum(),
        entropy=lambda probs: _entropy(list(probs)),
    ),
    MultivariateEntry(
        Multinomial,
        [{"total_count": 5.0, "probs": [0.2, 0.3, 0.5]}, {"total_count": 5.0, "probs": [0.7, 0.1, 0.2]}],
        values=[[1.0, 1.0, 3.0], [5.0, 0.0, 0.0], [0.0, 4.0, 1.0]],
        log_prob=_multinomial,
        bad={"total_count": -1.0, "probs": [0.5, -0.5, 1.0]},
        outside=[1.0, 1.0, 1.0],
        mean=lambda total_count, probs: total_count * probs,
        entropy=lambda total_count, probs: _entropy(
            [math.exp(_multinomial(k, total_count, probs)) for k in _counts(total_count, 3)]
        ),
    ),
    MultivariateEntry(
        DirichletMultinomial,
        [
            {"concentration": [0.5, 1.0, 2.0], "total_count": 5.0},
            {"concentration": [3.0, 2.0, 0.7], "total_count": 5.0},
        ],
        values=[[1.0, 1.0, 3.0], [5.0, 0.0, 0.0], [0.0, 4.0, 1.0]],
        log_prob=_dirichlet_multinomial,
        bad={"concentration": [0.5, -1.0, 1.0], "total_count": -1.0},
        outside=[1.0, 1.0, 1.0],
        mean=lambda concentration, total_count: total_count * concentration / concentration.sum(),
        entropy=lambda concentration, total_count: _entropy(
            [math.exp(_dirichlet_multinomial(k, concentration, total_count)) for k in _counts(total_count, 3)]
        ),
        refused={"kl": "out of reach of quadrature"},
    ),
    MultivariateEntry(
        RelaxedOneHotCategorical,
        [{"temperature": 0.7, "probs": [0.2, 0.3, 0.5]}, {"temperature": 2.0, "probs": [0.8, 0.1, 0.1]}],
        values=[[0.2, 0.3, 0.5], [0.98, 0.01, 0.01], [0.001, 0.5, 0.499]],
        log_prob=_relaxed,
        bad={"temperature": 0.0, "probs": [0.5, -0.5, 1.0]},
        outside=[0.5, 0.5, 0.5],
        refused={**_NO_INTEGRAL, "kl": "out of reach of quadrature"},
    ),
    MultivariateEntry(
        ExpRelaxedOneHotCategorical,
        [{"temperature": 0.7, "probs": [0.2, 0.3, 0.5]}, {"temperature": 2.0, "probs": [0.8, 0.1, 0.1]}],
        values=np.log([[0.2, 0.3, 0.5], [0.98, 0.01, 0.01], [0.001, 0.5, 0.499]]).tolist(),
        log_prob=lambda x, temperature, probs: _relaxed(np.exp(x), temperature, probs) + float(np.sum(x)),
        bad={"temperature": 0.0, "probs": [0.5, -0.5, 1.0]},
        outside=None,
        refused={**_NO_INTEGRAL, "kl": "out of reach of quadrature"},
    ),
]
