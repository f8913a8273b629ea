"""Distributions built from others, each as a family of numbers."""

import math

import torch
from scipy import stats
from torch.distributions import constraints

from posterity.bijectors import Exp, ScalarAffine
from posterity.distributions import Exponential, Normal, TransformedDistribution, Truncated
from tests.distributions.catalogue.entry import Entry


class MappedNormal(TransformedDistribution):
    """exp(loc - scale z) of a standard normal z: a log-normal distribution by way of a decreasing map."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(
            Normal(torch.zeros_like(self.loc), 1.0), [ScalarAffine(-self.scale, self.loc), Exp()], validate_args
        )


class TruncatedExponential(Truncated):
    """An exponential distribution up to its mean."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.dependent_property(Truncated.support.fget, is_discrete=False, event_dim=0)
    has_rsample = True

    def __init__(self, rate, validate_args=None):
        self.rate = rate
        super().__init__(Exponential(rate, validate_args=validate_args), high=1 / rate, validate_args=validate_args)


NO_FIT = "fit does not know the base's family"

ENTRIES = [
    Entry(
        MappedNormal,
        [{"loc": 0.75, "scale": 0.4}, {"loc": -2.0, "scale": 0.1}],
        lambda loc, scale: stats.lognorm(scale, scale=math.exp(loc)),
        {"loc": math.nan, "scale": -1.0},
        outside=-0.5,
        fit=None,
        refused={"fit": NO_FIT},
    ),
    Entry(
        TruncatedExponential,
        [{"rate": 1.7}, {"rate": 1e-3}],
        lambda rate: stats.truncexpon(1, scale=1 / rate),
        {"rate": -1.0},
        outside=-0.5,
        fit=None,
        refused={"fit": NO_FIT},
    ),
]
