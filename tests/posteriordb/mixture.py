"""A mixture of two normal distributions, told apart by their means' order."""

import torch

import posterity as pt
from posterity import distributions as dist
from posterity.bijectors import constraints
from tests.posteriordb.priors import Restricted
from tests.posteriordb.records import double


def program(y):
    mu = pt.sample("mu", Restricted(dist.Normal(torch.zeros(2), 2.0).to_event(1), constraints.ordered))
    sigma = pt.sample("sigma", dist.HalfNormal(torch.full((2,), 2.0)).to_event(1))
    theta = pt.sample("theta", dist.Beta(5.0, 5.0))
    weights = dist.Categorical(torch.stack([theta, 1 - theta], -1))
    with pt.plate("observations", len(y)):
        pt.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)


def observations(data):
    return (double(data["y"]),)
