"""Every scalar and every multivariate distribution with what it is compared with; one file for each kind of support."""

from tests.distributions.catalogue import bounded, discrete, half_line, multivariate, real_line
from tests.distributions.catalogue.entry import Entry
from tests.distributions.catalogue.multivariate_entry import MultivariateEntry

SCALAR: list[Entry] = [*real_line.ENTRIES, *half_line.ENTRIES, *bounded.ENTRIES, *discrete.ENTRIES]
MULTIVARIATE: list[MultivariateEntry] = [*multivariate.ENTRIES]
