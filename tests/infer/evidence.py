"""Models whose evidence and posterior are known, and a capture that does not compile."""

import math

import torch
from torch.distributions import MultivariateNormal
from torch.fx.experimental.proxy_tensor import make_fx

import posterity as pt
from posterity import distributions as dist
from posterity.runtime import without_validation

NOISE = 0.5


def regression(x, y):
    """Linear regression with a standard normal prior: conjugate."""
    weights = pt.sample("weights", dist.Normal(torch.zeros_like(x[0]), 1.0).to_event(1))
    with pt.plate("data", len(x)):
        pt.sample("y", dist.Normal(x @ weights, NOISE), obs=y)


def regression_data(dim, number=30):
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(number, dim, generator=generator, dtype=torch.float64)
    weights = torch.randn(dim, generator=generator, dtype=torch.float64)
    return x, x @ weights + NOISE * torch.randn(number, generator=generator, dtype=torch.float64)


def regression_evidence(x, y):
    covariance = x @ x.mT + NOISE**2 * torch.eye(len(y), dtype=x.dtype)
    return MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)


def regression_posterior(x, y):
    precision = x.mT @ x / NOISE**2 + torch.eye(x.shape[1], dtype=x.dtype)
    covariance = torch.linalg.inv(precision)
    return covariance @ (x.mT @ y) / NOISE**2, covariance


def groups(y):
    """Group means around a common one, with a spread that is not known."""
    loc = pt.sample("loc", dist.Normal(y.new_zeros(()), 2.0))
    spread = pt.sample("spread", dist.HalfNormal(y.new_ones(())))
    with pt.plate("groups", len(y)):
        mean = pt.sample("mean", dist.Normal(loc, spread))
        pt.sample("y", dist.Normal(mean, 1.0), obs=y)


GROUPS = torch.tensor([0.3, -1.2, 2.0, 0.9, 1.7, -0.4], dtype=torch.float64)


def groups_evidence(y):
    """Everything but the spread integrates in closed form; the spread by the trapezoidal rule."""
    spreads = torch.linspace(0, 8, 4001, dtype=y.dtype)
    common = torch.full((len(y), len(y)), 4.0, dtype=y.dtype)
    own = (1 + spreads.square())[:, None, None] * torch.eye(len(y), dtype=y.dtype)
    terms = MultivariateNormal(torch.zeros_like(y), common + own).log_prob(y)
    prior = math.log(2) - math.log(2 * math.pi) / 2 - spreads.square() / 2
    return torch.trapezoid((terms + prior).exp(), spreads).log()


def traced(function, example):
    """What `posterity.infer.capture` captures, left as it is: no time goes into compiling it."""
    with without_validation():
        return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
