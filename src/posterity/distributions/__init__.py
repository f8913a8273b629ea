"""Floor 2: random tensors and their statistics."""

from torch.distributions import constraints

from posterity.distributions.asymmetric_laplace import AsymmetricLaplace
from posterity.distributions.base import Distribution
from posterity.distributions.bernoulli import Bernoulli
from posterity.distributions.beta import Beta
from posterity.distributions.beta_binomial import BetaBinomial
from posterity.distributions.binomial import Binomial
from posterity.distributions.categorical import Categorical
from posterity.distributions.cauchy import Cauchy
from posterity.distributions.cdf_bijector import CDFBijector, GumbelCDF, KumaraswamyCDF, NormalCDF, WeibullCDF
from posterity.distributions.censored import Censored
from posterity.distributions.chi2 import Chi2
from posterity.distributions.continuous_bernoulli import ContinuousBernoulli
from posterity.distributions.delta import Delta
from posterity.distributions.dirichlet import Dirichlet
from posterity.distributions.dirichlet_multinomial import DirichletMultinomial
from posterity.distributions.discrete_uniform import DiscreteUniform
from posterity.distributions.empirical import Empirical
from posterity.distributions.exponential import Exponential
from posterity.distributions.exponentially_modified_gaussian import ExponentiallyModifiedGaussian
from posterity.distributions.fisher_snedecor import FisherSnedecor
from posterity.distributions.gamma import Gamma
from posterity.distributions.gaussian_random_walk import GaussianRandomWalk
from posterity.distributions.generalized_extreme_value import GeneralizedExtremeValue
from posterity.distributions.generalized_pareto import GeneralizedPareto
from posterity.distributions.geometric import Geometric
from posterity.distributions.gumbel import Gumbel
from posterity.distributions.half_cauchy import HalfCauchy
from posterity.distributions.half_normal import HalfNormal
from posterity.distributions.half_student_t import HalfStudentT
from posterity.distributions.hidden_markov_model import HiddenMarkovModel
from posterity.distributions.horseshoe import Horseshoe
from posterity.distributions.hurdle import Hurdle
from posterity.distributions.improper_uniform import ImproperUniform
from posterity.distributions.independent import Independent
from posterity.distributions.inverse_gamma import InverseGamma
from posterity.distributions.inverse_gaussian import InverseGaussian
from posterity.distributions.inverse_wishart import InverseWishart
from posterity.distributions.johnson_su import JohnsonSU
from posterity.distributions.kl import kl_divergence
from posterity.distributions.kumaraswamy import Kumaraswamy
from posterity.distributions.laplace import Laplace
from posterity.distributions.levy import Levy
from posterity.distributions.lifted import lift
from posterity.distributions.linear_gaussian_state_space import LinearGaussianStateSpace
from posterity.distributions.lkj_cholesky import LKJCholesky
from posterity.distributions.log_logistic import LogLogistic
from posterity.distributions.log_normal import LogNormal
from posterity.distributions.logistic import Logistic
from posterity.distributions.logistic_normal import LogisticNormal
from posterity.distributions.logit_normal import LogitNormal
from posterity.distributions.low_rank_multivariate_normal import LowRankMultivariateNormal
from posterity.distributions.masked import MaskedDistribution
from posterity.distributions.matrix_normal import MatrixNormal
from posterity.distributions.mixture import Mixture, MixtureSameFamily
from posterity.distributions.monte_carlo import kl_monte_carlo
from posterity.distributions.moyal import Moyal
from posterity.distributions.multinomial import Multinomial
from posterity.distributions.multivariate_normal import MultivariateNormal
from posterity.distributions.multivariate_student_t import MultivariateStudentT
from posterity.distributions.negative_binomial import NegativeBinomial
from posterity.distributions.normal import Normal
from posterity.distributions.one_hot_categorical import OneHotCategorical
from posterity.distributions.ordered_logistic import OrderedLogistic
from posterity.distributions.pareto import Pareto
from posterity.distributions.poisson import Poisson
from posterity.distributions.power_spherical import PowerSpherical
from posterity.distributions.quantized import Quantized
from posterity.distributions.relaxed_bernoulli import RelaxedBernoulli
from posterity.distributions.relaxed_one_hot_categorical import ExpRelaxedOneHotCategorical, RelaxedOneHotCategorical
from posterity.distributions.sinh_arcsinh import SinhArcsinh
from posterity.distributions.skellam import Skellam
from posterity.distributions.skew_normal import SkewNormal
from posterity.distributions.student_t import StudentT
from posterity.distributions.transformed import TransformedDistribution
from posterity.distributions.triangular import Triangular
from posterity.distributions.truncated import Truncated
from posterity.distributions.truncated_normal import TruncatedNormal
from posterity.distributions.uniform import Uniform
from posterity.distributions.von_mises import VonMises
from posterity.distributions.von_mises_fisher import VonMisesFisher
from posterity.distributions.weibull import Weibull
from posterity.distributions.wishart import Wishart
from posterity.distributions.zero_inflated import ZeroInflated
from posterity.distributions.zipf import Zipf

__all__ = [
    "AsymmetricLaplace",
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "CDFBijector",
    "Categorical",
    "Cauchy",
    "Censored",
    "Chi2",
    "ContinuousBernoulli",
    "Delta",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscreteUniform",
    "Distribution",
    "Empirical",
    "ExpRelaxedOneHotCategorical",
    "Exponential",
    "ExponentiallyModifiedGaussian",
    "FisherSnedecor",
    "Gamma",
    "GaussianRandomWalk",
    "GeneralizedExtremeValue",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "GumbelCDF",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "HiddenMarkovModel",
    "Horseshoe",
    "Hurdle",
    "ImproperUniform",
    "Independent",
    "InverseGamma",
    "InverseGaussian",
    "InverseWishart",
    "JohnsonSU",
    "Kumaraswamy",
    "KumaraswamyCDF",
    "LKJCholesky",
    "Laplace",
    "Levy",
    "LinearGaussianStateSpace",
    "LogLogistic",
    "LogNormal",
    "Logistic",
    "LogisticNormal",
    "LogitNormal",
    "LowRankMultivariateNormal",
    "MaskedDistribution",
    "MatrixNormal",
    "Mixture",
    "MixtureSameFamily",
    "Moyal",
    "Multinomial",
    "MultivariateNormal",
    "MultivariateStudentT",
    "NegativeBinomial",
    "Normal",
    "NormalCDF",
    "OneHotCategorical",
    "OrderedLogistic",
    "Pareto",
    "Poisson",
    "PowerSpherical",
    "Quantized",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "SinhArcsinh",
    "Skellam",
    "SkewNormal",
    "StudentT",
    "TransformedDistribution",
    "Triangular",
    "Truncated",
    "TruncatedNormal",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "WeibullCDF",
    "Wishart",
    "ZeroInflated",
    "Zipf",
    "constraints",
    "kl_divergence",
    "kl_monte_carlo",
    "lift",
]
