"""An autoregression given its first values: a regression on a window of the series."""

import posterity as pt
from posterity import distributions as dist
from tests.posteriordb.records import double


def program(past, y):
    """`past` holds the last K values before each of `y`, the latest first, `[T - K, K]`."""
    alpha = pt.sample("alpha", dist.Normal(0.0, 10.0))
    beta = pt.sample("beta", dist.Normal(0.0, 10.0).expand(past.shape[1:]).to_event(1))
    sigma = pt.sample("sigma", dist.HalfCauchy(2.5))
    with pt.plate("times", len(y)):
        pt.sample("y", dist.Normal(alpha + past @ beta, sigma), obs=y)


def windows(data):
    y, order = double(data["y"]), data["K"]
    return y[:-1].unfold(0, order, 1).flip(-1), y[order:]
