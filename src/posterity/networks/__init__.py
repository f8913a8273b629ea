"""Floor 8: deep probabilistic networks, made of ordinary modules and trained by one call or in a plain loop."""

from posterity.networks.bayesian_rnn import BayesianRNN
from posterity.networks.conditional_vae import ConditionalVAE
from posterity.networks.deep_markov_model import DeepMarkovModel
from posterity.networks.fitting import FitResult, fit_by_epochs
from posterity.networks.flows import MAF, FlowFit, NeuralSpline, NormalizingFlow, RealNVP
from posterity.networks.heteroscedastic import HeteroscedasticRegressor
from posterity.networks.latent_families import (
    BernoulliFamily,
    CategoricalFamily,
    LatentFamily,
    NormalFamily,
    RelaxedBernoulliFamily,
    RelaxedCategoricalFamily,
)
from posterity.networks.latent_priors import LatentPrior, MixturePrior, VampPrior
from posterity.networks.likelihoods import DiscretizedLogisticLikelihood, Likelihood
from posterity.networks.mixture_density import MixtureDensityNetwork
from posterity.networks.quantile_regression import QuantileRegressor
from posterity.networks.sparse_gp import SparseVariationalGP
from posterity.networks.vae import VAE

__all__ = [
    "MAF",
    "VAE",
    "BayesianRNN",
    "BernoulliFamily",
    "CategoricalFamily",
    "ConditionalVAE",
    "DeepMarkovModel",
    "DiscretizedLogisticLikelihood",
    "FitResult",
    "FlowFit",
    "HeteroscedasticRegressor",
    "LatentFamily",
    "LatentPrior",
    "Likelihood",
    "MixtureDensityNetwork",
    "MixturePrior",
    "NeuralSpline",
    "NormalFamily",
    "NormalizingFlow",
    "QuantileRegressor",
    "RealNVP",
    "RelaxedBernoulliFamily",
    "RelaxedCategoricalFamily",
    "SparseVariationalGP",
    "VampPrior",
    "fit_by_epochs",
]
