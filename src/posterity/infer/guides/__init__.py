"""Guides made from a model: approximate posteriors with parameters of their own."""

from posterity.infer.guides.delta import AutoDelta
from posterity.infer.guides.flow import AutoFlow, AutoIAF, AutoSpline
from posterity.infer.guides.guide import AutoGuide
from posterity.infer.guides.guide_list import AutoGuideList
from posterity.infer.guides.joint import AutoGaussian, AutoJoint
from posterity.infer.guides.laplace import AutoLaplace
from posterity.infer.guides.low_rank import AutoLowRankMultivariateNormal
from posterity.infer.guides.multivariate_normal import AutoMultivariateNormal
from posterity.infer.guides.normal import AutoNormal
from posterity.infer.guides.structured import AutoStructured

__all__ = [
    "AutoDelta",
    "AutoFlow",
    "AutoGaussian",
    "AutoGuide",
    "AutoGuideList",
    "AutoIAF",
    "AutoJoint",
    "AutoLaplace",
    "AutoLowRankMultivariateNormal",
    "AutoMultivariateNormal",
    "AutoNormal",
    "AutoSpline",
    "AutoStructured",
]
