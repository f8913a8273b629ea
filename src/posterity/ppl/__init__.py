"""Floor 3: the probabilistic language."""

from posterity.ppl.factor import Factor
from posterity.ppl.module import module
from posterity.ppl.plate import plate, subsample
from posterity.ppl.primitives import deterministic, factor, param, sample
from posterity.ppl.site import Frame, Site
from posterity.ppl.stack import Handler

__all__ = [
    "Factor",
    "Frame",
    "Handler",
    "Site",
    "deterministic",
    "factor",
    "module",
    "param",
    "plate",
    "sample",
    "subsample",
]
