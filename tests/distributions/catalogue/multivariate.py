"""Distributions over vectors and matrices."""

from tests.distributions.catalogue.multivariate_entry import MultivariateEntry

ENTRIES: list[MultivariateEntry] = []
