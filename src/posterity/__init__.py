"""Posterity: PyTorch models that say what they don't know.

The names here are those that a user types every day; the rest is in the floors: `posterity.nn`,
`posterity.transform`, `posterity.distributions`, `posterity.toolbox`.
"""

from posterity import distributions, nn, transform
from posterity._version import __version__
from posterity.prediction import Prediction, elbo_loss, predict
from posterity.transform import bayesianize

__all__ = [
    "Prediction",
    "__version__",
    "bayesianize",
    "distributions",
    "elbo_loss",
    "nn",
    "predict",
    "transform",
]
