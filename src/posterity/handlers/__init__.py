"""Floor 3: handlers, which change what a program's statements mean."""

from posterity.handlers.auto_reparam import AutoReparam
from posterity.handlers.block import block
from posterity.handlers.enumerate import config_enumerate, enumerate_sites
from posterity.handlers.lift import lift
from posterity.handlers.loc_scale_reparam import LocScaleReparam
from posterity.handlers.neutra_reparam import NeuTraReparam
from posterity.handlers.reparam import reparam
from posterity.handlers.reparametrization import Reparam
from posterity.handlers.seed import seed
from posterity.handlers.trace import Trace, trace
from posterity.handlers.transform_reparam import TransformReparam
from posterity.handlers.values import condition, do, replay, substitute, uncondition
from posterity.handlers.weights import mask, scale

__all__ = [
    "AutoReparam",
    "LocScaleReparam",
    "NeuTraReparam",
    "Reparam",
    "Trace",
    "TransformReparam",
    "block",
    "condition",
    "config_enumerate",
    "do",
    "enumerate_sites",
    "lift",
    "mask",
    "reparam",
    "replay",
    "scale",
    "seed",
    "substitute",
    "trace",
    "uncondition",
]
