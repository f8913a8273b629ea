"""Every scalar and every multivariate distribution with what it is compared with; one file for each kind of support."""

from tests.distributions.catalogue import (
    bounded,
    composites,
    counts,
    discrete,
    discrete_vectors,
    elementary,
    gamma_beta,
    half_line,
    multivariate,
    real_line,
    vectors,
)
from tests.distributions.catalogue.entry import Entry
from tests.distributions.catalogue.multivariate_entry import MultivariateEntry

SCALAR: list[Entry] = [
    *real_line.ENTRIES,
    *half_line.ENTRIES,
    *bounded.ENTRIES,
    *elementary.ENTRIES,
    *gamma_beta.ENTRIES,
    *discrete.ENTRIES,
    *counts.ENTRIES,
    *composites.ENTRIES,
]
MULTIVARIATE: list[MultivariateEntry] = [*multivariate.ENTRIES, *vectors.ENTRIES, *discrete_vectors.ENTRIES]
