"""GARCH(1, 1): a variance that follows the last shock and the last variance; Bollerslev (1986)."""

import torch
from torch.distributions import constraints
from torch.nn import functional as F

import posterity as pt
from posterity import distributions as dist
from tests.posteriordb.records import columns


def program(y, sigma1):
    mu = pt.sample("mu", dist.ImproperUniform(constraints.real))
    alpha0 = pt.sample("alpha0", dist.ImproperUniform(constraints.positive))
    # Flat on the triangle of alpha1 > 0, beta1 > 0, alpha1 + beta1 < 1.
    weights = pt.sample("weights", dist.Dirichlet(torch.ones(3)))
    alpha1, beta1, _ = weights.unbind(-1)
    shocks = alpha0 + alpha1 * (y[:-1] - mu).square()
    variance = decaying_sums(torch.cat([sigma1.square().unsqueeze(0), shocks]), beta1)
    with pt.plate("times", len(y)):
        pt.sample("y", dist.Normal(mu, variance.sqrt()), obs=y)


def decaying_sums(x, decay):
    """All `s[t] = x[t] + decay * s[t - 1]` of a series, in a number of steps that grows with the log of its length.

    Each step doubles the length of the sums; Hillis and Steele (1986).

    Example:
        >>> decaying_sums(torch.tensor([1.0, 0.0, 0.0, 4.0]), torch.tensor(0.5))
        tensor([1.0000, 0.5000, 0.2500, 4.1250])
    """
    length = 1
    while length < len(x):
        x = x + decay * F.pad(x[:-length], (length, 0))
        decay, length = decay.square(), 2 * length
    return x


def series(data):
    return columns(data, "y", "sigma1")


def triangle(draws):
    """The sites' draws with the two weights by their names."""
    alpha1, beta1, _ = draws["weights"].unbind(-1)
    return {"mu": draws["mu"], "alpha0": draws["alpha0"], "alpha1": alpha1, "beta1": beta1}
