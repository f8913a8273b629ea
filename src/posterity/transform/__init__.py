"""Floor 7: an ordinary network in, a probabilistic one out, and the way back."""

from posterity.transform.bayesianize import bayesianize
from posterity.transform.deterministic import deterministic

__all__ = ["bayesianize", "deterministic"]
