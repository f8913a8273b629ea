"""Distributions built from others, each as a family of numbers."""

import math

import torch
from scipy import stats
from torch.distributions import constraints

from posterity.bijectors import ScalarAffine
from posterity.distributions import Exponential, Gumbel, TransformedDistribution, Truncated
from tests.distributions.catalogue.entry import Entry


class MirroredGumbel(TransformedDistribution):
    """loc - scale g of a standard Gumbel variable g: a decreasing map."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(Gumbel(torch.zeros_like(self.loc), 1.0), [ScalarAffine(-self.scale, self.loc)], validate_args)


class TruncatedExponential(Truncated):
    """An exponential distribution up to its mean, which the rates below make an exact number."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.dependent_property(Truncated.support.fget, is_discrete=False, event_dim=0)
    has_rsample = True

    def __init__(self, rate, validate_args=None):
        self.rate = rate
        super().__init__(Exponential(rate, validate_args=validate_args), high=1 / rate, validate_args=validate_args)


NO_FIT = "fit does not know the base's family"

ENTRIES = [
    Entry(
        MirroredGumbel,
        [{"loc": 0.75, "scale": 0.4}, {"loc": -2.0, "scale": 3.0}],
        lambda loc, scale: stats.gumbel_l(loc, scale),
        {"loc": math.nan, "scale": -1.0},
        fit=None,
        refused={"fit": NO_FIT},
    ),
    Entry(
        TruncatedExponential,
        [{"rate": 2.0}, {"rate": 2.0**-10}],
        lambda rate: stats.truncexpon(1, scale=1 / rate),
        {"rate": -1.0},
        outside=-0.5,
        fit=None,
        refused={"fit": NO_FIT},
    ),
]
