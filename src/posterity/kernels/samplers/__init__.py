"""Samplers from any source: in eager code, under `vmap`, in compiled graphs. The sample shape goes in front."""

from posterity.kernels.samplers.beta_sampler import beta, dirichlet
from posterity.kernels.samplers.binomial_sampler import binomial, multinomial
from posterity.kernels.samplers.categorical_sampler import categorical
from posterity.kernels.samplers.exponential_sampler import exponential, gumbel
from posterity.kernels.samplers.gamma_sampler import log_standard_gamma, standard_gamma
from posterity.kernels.samplers.inverse_gaussian_sampler import inverse_gaussian
from posterity.kernels.samplers.poisson_sampler import poisson
from posterity.kernels.samplers.truncated_normal_sampler import truncated_normal
from posterity.kernels.samplers.von_mises_sampler import von_mises, von_mises_fisher_versine
from posterity.kernels.samplers.zipf_sampler import zipf

__all__ = [
    "beta",
    "binomial",
    "categorical",
    "dirichlet",
    "exponential",
    "gumbel",
    "inverse_gaussian",
    "log_standard_gamma",
    "multinomial",
    "poisson",
    "standard_gamma",
    "truncated_normal",
    "von_mises",
    "von_mises_fisher_versine",
    "zipf",
]
