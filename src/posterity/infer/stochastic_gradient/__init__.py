"""Stochastic-gradient Markov chain Monte Carlo: kernels over minibatches, and the driver that runs them."""

from posterity.infer.stochastic_gradient.cyclical_sgld import CyclicalSGLD
from posterity.infer.stochastic_gradient.psgld import PSGLD
from posterity.infer.stochastic_gradient.schedules import constant, cyclical_cosine, polynomial_decay
from posterity.infer.stochastic_gradient.sghmc import SGHMC
from posterity.infer.stochastic_gradient.sgld import SGLD
from posterity.infer.stochastic_gradient.sgmcmc import SGMCMC
from posterity.infer.stochastic_gradient.sgnht import SGNHT
from posterity.infer.stochastic_gradient.stochastic_potential import StochasticPotential

__all__ = [
    "PSGLD",
    "SGHMC",
    "SGLD",
    "SGMCMC",
    "SGNHT",
    "CyclicalSGLD",
    "StochasticPotential",
    "constant",
    "cyclical_cosine",
    "polynomial_decay",
]
