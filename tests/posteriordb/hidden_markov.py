"""Hidden Markov models of two states, whose paths are summed out; at the start the states are equally probable."""

import torch

import posterity as pt
from posterity import distributions as dist
from posterity.bijectors import constraints
from tests.posteriordb.priors import Restricted
from tests.posteriordb.records import double


def normal(y):
    """Normal emissions of unit spread."""
    theta = _transitions(torch.ones(2, 2))
    mu = pt.sample("mu", _ascending(3.0, 10.0))
    _observe(theta, dist.Normal(mu, 1.0), y)


def drive(distances, counts):
    """Two exponential emissions at each time, `[N, 2]`; `counts` are the Dirichlet priors' concentrations."""
    theta = _transitions(counts)
    phi = pt.sample("phi", _ascending(0.0, 3.0))
    rate = pt.sample("lambda", _ascending(0.0, 3.0))
    _observe(theta, dist.Exponential(torch.stack([phi, rate], -1)).to_event(1), distances)


def _transitions(concentration):
    rows = [pt.sample(f"theta{k + 1}", dist.Dirichlet(row)) for k, row in enumerate(concentration)]
    return dist.Categorical(torch.stack(rows))


def _ascending(*loc):
    base = dist.Normal(torch.tensor(loc), 1.0).to_event(1)
    return Restricted(base, constraints.positive_ordered)


def _observe(theta, emission, observations):
    start = dist.Categorical(torch.ones(2))
    pt.sample("y", dist.HiddenMarkovModel(start, theta, emission, num_steps=len(observations)), obs=observations)


def normal_series(data):
    return (double(data["y"]),)


def drive_series(data):
    return torch.stack([double(data["u"]), double(data["v"])], -1), double(data["alpha"])
