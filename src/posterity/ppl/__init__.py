"""Floor 3: the probabilistic language."""

from posterity.ppl.factor import Factor
from posterity.ppl.markov import markov
from posterity.ppl.module import module
from posterity.ppl.plate import plate, subsample
from posterity.ppl.primitives import deterministic, factor, param, sample
from posterity.ppl.provenance import provenance
from posterity.ppl.render import ModelGraph, render_model
from posterity.ppl.site import Frame, Site, Turn
from posterity.ppl.stack import Handler
from posterity.ppl.vindex import Vindex, vindex

__all__ = [
    "Factor",
    "Frame",
    "Handler",
    "ModelGraph",
    "Site",
    "Turn",
    "Vindex",
    "deterministic",
    "factor",
    "markov",
    "module",
    "param",
    "plate",
    "provenance",
    "render_model",
    "sample",
    "subsample",
    "vindex",
]
