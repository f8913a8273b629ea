"""Floor 4: inference."""

from posterity.infer.elbo import ELBO
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
from posterity.infer.initialization import (
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from posterity.infer.objective import Estimate, Objective
from posterity.infer.svi import SVI, SVIResult

__all__ = [
    "ELBO",
    "IWAE",
    "SVI",
    "VIMCO",
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
    "Estimate",
    "Objective",
    "RenyiELBO",
    "ReweightedWakeSleep",
    "SVIResult",
    "init_to_feasible",
    "init_to_mean",
    "init_to_median",
    "init_to_sample",
    "init_to_uniform",
    "init_to_value",
]
