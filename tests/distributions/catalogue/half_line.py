"""Distributions over the positive half line."""

from scipy import stats

from posterity.distributions import Exponential
from tests.distributions.catalogue.entry import Entry

ENTRIES = [
    Entry(
        Exponential,
        [{"rate": 1.7}, {"rate": 1e-6}, {"rate": 3e5}],
        lambda rate: stats.expon(scale=1 / rate),
        bad={"rate": 0.0},
        outside=-0.5,
    ),
]
