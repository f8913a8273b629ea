"""Floor 5: Bayesian layers, their priors and posteriors, and the mechanism that makes any parameter random."""

from posterity.nn.conv import Conv1d, Conv2d, Conv3d
from posterity.nn.frozen_posterior import frozen_posterior
from posterity.nn.kl import kl_divergence
from posterity.nn.linear import Linear
from posterity.nn.posteriors import Delta, MeanFieldNormal, Posterior
from posterity.nn.priors import FanIn, Fixed, Pretrained, Prior, ScaleMixture
from posterity.nn.program import random_weights
from posterity.nn.random_module import RandomModule, random_parameters, shared_draw

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Delta",
    "FanIn",
    "Fixed",
    "Linear",
    "MeanFieldNormal",
    "Posterior",
    "Pretrained",
    "Prior",
    "RandomModule",
    "ScaleMixture",
    "frozen_posterior",
    "kl_divergence",
    "random_parameters",
    "random_weights",
    "shared_draw",
]
