"""Distributions over integers."""

from posterity.distributions import Categorical
from tests.distributions.catalogue.entry import Entry, FromMasses

ENTRIES = [
    Entry(
        Categorical,
        [{"probs": [0.1, 0.2, 0.7]}, {"probs": [0.5, 0.25, 0.25]}, {"probs": [1e-6, 1 - 2e-6, 1e-6]}],
        lambda probs: FromMasses(range(3), probs),
        bad={"probs": [0.5, -0.5, 1.0]},
        outside=3,
    ),
]
