"""Models whose posterior is known, and the plainest loop that fits a guide."""

from typing import NamedTuple

import torch
from torch import Tensor

import posterity as pt
from posterity.handlers import replay, trace

dist = pt.distributions
NOISE = 0.5


class Regression(NamedTuple):
    """Bayesian linear regression with known noise: the posterior of (weights, bias) is normal."""

    x: Tensor
    y: Tensor
    mean: Tensor
    covariance: Tensor
    log_evidence: Tensor


def regression(dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(12, 2, generator=generator, dtype=dtype) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]], dtype=dtype) + 0.5
    y = x @ torch.tensor([1.0, -0.5], dtype=dtype) + NOISE * torch.randn(12, generator=generator, dtype=dtype)
    design = torch.cat([x, torch.ones(12, 1, dtype=dtype)], -1)
    covariance = torch.linalg.inv(design.T @ design / NOISE**2 + torch.eye(3, dtype=dtype))
    mean = covariance @ design.T @ y / NOISE**2
    marginal = design @ design.T + NOISE**2 * torch.eye(12, dtype=dtype)
    log_evidence = torch.distributions.MultivariateNormal(torch.zeros(12, dtype=dtype), marginal).log_prob(y)
    return Regression(x, y, mean, covariance, log_evidence)


def regression_model(x, y):
    weights = pt.sample("weights", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
    bias = pt.sample("bias", dist.Normal(x.new_zeros(()), 1.0))
    with pt.plate("data", len(x)):
        pt.sample("y", dist.Normal((x * weights).sum(-1) + bias, NOISE), obs=y)


def bound(model, guide, *args):
    """log p - log q at one draw."""
    drawn = trace(guide).get_trace(*args)
    return trace(replay(model, drawn)).get_trace(*args).log_prob_sum() - drawn.log_prob_sum()


def fit(model, guide, *args, steps, lr=0.05, draws=16):
    """Adam on the mean of some draws' bounds, which a plate left of the model's makes at once."""
    guide.setup(*args)
    optimizer = torch.optim.Adam(guide.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=lr / 100)
    for _ in range(steps):
        optimizer.zero_grad()
        with pt.plate("draws", draws, dim=-2):
            (-bound(model, guide, *args) / draws).backward()
        optimizer.step()
        schedule.step()
    return guide


def maximise(model, guide, *args):
    """The bound of a guide that draws nothing at random, climbed to its maximum."""
    guide.setup(*args)
    optimizer = torch.optim.LBFGS(
        guide.parameters(), max_iter=100, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -bound(model, guide, *args)
        loss.backward()
        return loss

    optimizer.step(closure)
    return guide


def bounds(model, guide, number):
    """log p - log q at many draws of a model whose sites stand in no plate, `[number]`."""
    with torch.no_grad(), pt.plate("draws", number, dim=-1):
        drawn = trace(guide).get_trace()
        run = trace(replay(model, drawn)).get_trace()
    return sum(run.log_probs().values()) - sum(drawn.log_probs().values())


def inverse_softplus(scale):
    return torch.log(torch.expm1(scale))
