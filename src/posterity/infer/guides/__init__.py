"""Guides made from a model: approximate posteriors with parameters of their own."""

from posterity.infer.guides.guide import AutoGuide
from posterity.infer.guides.normal import AutoNormal

__all__ = ["AutoGuide", "AutoNormal"]
