"""Floor 4: inference."""

from posterity.infer.annealed_importance_sampling import AnnealedImportance, annealed_importance_sampling
from posterity.infer.arviz import loo, to_arviz, waic
from posterity.infer.diagnostics import effective_sample_size, split_rhat, standard_error, summarize
from posterity.infer.elbo import ELBO
from posterity.infer.enumeration import log_density
from posterity.infer.guides import (
    AutoDelta,
    AutoGuide,
    AutoGuideList,
    AutoIAF,
    AutoLaplace,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoSpline,
    AutoStructured,
)
from posterity.infer.importance_weighted import IWAE, VIMCO, RenyiELBO, ReweightedWakeSleep
from posterity.infer.infer_discrete import compute_marginals, infer_discrete
from posterity.infer.initialization import (
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from posterity.infer.log_evidence import LogEvidence, log_evidence
from posterity.infer.mcmc.chees import ChEES
from posterity.infer.mcmc.elliptical_slice import EllipticalSlice
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.mala import MALA
from posterity.infer.mcmc.mclmc import MCLMC
from posterity.infer.mcmc.mcmc import MCMC
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis
from posterity.infer.mcmc.replica_evidence import replica_evidence
from posterity.infer.mcmc.replica_exchange import ReplicaExchange
from posterity.infer.objective import Estimate, Objective
from posterity.infer.pareto_smoothing import pareto_smooth
from posterity.infer.pathfinder import Pathfinder, PathfinderResult
from posterity.infer.potential import Potential
from posterity.infer.predictive import Predictive, log_likelihood
from posterity.infer.sequential_monte_carlo import SMC
from posterity.infer.smc_result import SMCResult
from posterity.infer.stein import SVGD, SVGDResult
from posterity.infer.stochastic_gradient.cyclical_sgld import CyclicalSGLD
from posterity.infer.stochastic_gradient.psgld import PSGLD
from posterity.infer.stochastic_gradient.sghmc import SGHMC
from posterity.infer.stochastic_gradient.sgld import SGLD
from posterity.infer.stochastic_gradient.sgmcmc import SGMCMC
from posterity.infer.stochastic_gradient.sgnht import SGNHT
from posterity.infer.svi import SVI, SVIResult

__all__ = [
    "ELBO",
    "HMC",
    "IWAE",
    "MALA",
    "MCLMC",
    "MCMC",
    "NUTS",
    "PSGLD",
    "SGHMC",
    "SGLD",
    "SGMCMC",
    "SGNHT",
    "SMC",
    "SVGD",
    "SVI",
    "VIMCO",
    "AnnealedImportance",
    "AutoDelta",
    "AutoGuide",
    "AutoGuideList",
    "AutoIAF",
    "AutoLaplace",
    "AutoLowRankMultivariateNormal",
    "AutoMultivariateNormal",
    "AutoNormal",
    "AutoSpline",
    "AutoStructured",
    "ChEES",
    "CyclicalSGLD",
    "EllipticalSlice",
    "Estimate",
    "Gibbs",
    "LogEvidence",
    "Objective",
    "Pathfinder",
    "PathfinderResult",
    "Potential",
    "Predictive",
    "RandomWalkMetropolis",
    "RenyiELBO",
    "ReplicaExchange",
    "ReweightedWakeSleep",
    "SMCResult",
    "SVGDResult",
    "SVIResult",
    "annealed_importance_sampling",
    "compute_marginals",
    "effective_sample_size",
    "infer_discrete",
    "init_to_feasible",
    "init_to_mean",
    "init_to_median",
    "init_to_sample",
    "init_to_uniform",
    "init_to_value",
    "log_density",
    "log_evidence",
    "log_likelihood",
    "loo",
    "pareto_smooth",
    "replica_evidence",
    "split_rhat",
    "standard_error",
    "summarize",
    "to_arviz",
    "waic",
]
