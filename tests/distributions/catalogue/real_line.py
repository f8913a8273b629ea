"""Distributions over the whole line."""

import math

from scipy import stats

from posterity.distributions import Gumbel, Laplace, Normal
from tests.distributions.catalogue.entry import Entry

LOC_SCALE = [{"loc": 0.75, "scale": 1.3}, {"loc": -2.0, "scale": 3.0}, {"loc": 0.0, "scale": 1e-8}]
BAD_LOC_SCALE = {"loc": math.nan, "scale": -1.0}

ENTRIES = [
    Entry(Normal, LOC_SCALE, lambda loc, scale: stats.norm(loc, scale), BAD_LOC_SCALE),
    Entry(Laplace, LOC_SCALE, lambda loc, scale: stats.laplace(loc, scale), BAD_LOC_SCALE),
    Entry(Gumbel, LOC_SCALE, lambda loc, scale: stats.gumbel_r(loc, scale), BAD_LOC_SCALE),
]
