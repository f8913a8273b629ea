"""Floor 2: random tensors and their statistics."""

from torch.distributions import constraints

from posterity.distributions.base import Distribution
from posterity.distributions.categorical import Categorical
from posterity.distributions.exponential import Exponential
from posterity.distributions.gumbel import Gumbel
from posterity.distributions.independent import Independent
from posterity.distributions.kl import kl_divergence
from posterity.distributions.laplace import Laplace
from posterity.distributions.masked import MaskedDistribution
from posterity.distributions.mixture import Mixture, MixtureSameFamily
from posterity.distributions.monte_carlo import kl_monte_carlo
from posterity.distributions.normal import Normal

__all__ = [
    "Categorical",
    "Distribution",
    "Exponential",
    "Gumbel",
    "Independent",
    "Laplace",
    "MaskedDistribution",
    "Mixture",
    "MixtureSameFamily",
    "Normal",
    "constraints",
    "kl_divergence",
    "kl_monte_carlo",
]
