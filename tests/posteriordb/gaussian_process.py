"""Regression by a Gaussian process with a squared exponential kernel, its function integrated out."""

import torch

import posterity as pt
from posterity import distributions as dist
from tests.posteriordb.records import columns


def program(x, y):
    rho = pt.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pt.sample("alpha", dist.HalfNormal(2.0))
    sigma = pt.sample("sigma", dist.HalfNormal(1.0))
    squares = (x.unsqueeze(-1) - x).square()
    # The specification has sigma itself as the noise's variance.
    covariance = alpha.square() * torch.exp(-0.5 * squares / rho.square()) + sigma * torch.eye(len(x))
    pt.sample("y", dist.MultivariateNormal(torch.zeros_like(x), covariance), obs=y)


def points(data):
    return columns(data, "x", "y")
