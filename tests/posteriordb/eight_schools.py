"""Eight schools: effects of coaching, with their common mean and spread; Rubin (1981)."""

import posterity as pt
from posterity import distributions as dist
from tests.posteriordb.records import columns


def centered(sigma, y):
    mu = pt.sample("mu", dist.Normal(0.0, 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(5.0))
    with pt.plate("schools", len(y)):
        theta = pt.sample("theta", dist.Normal(mu, tau))
        pt.sample("y", dist.Normal(theta, sigma), obs=y)


def noncentered(sigma, y):
    mu = pt.sample("mu", dist.Normal(0.0, 5.0))
    tau = pt.sample("tau", dist.HalfCauchy(5.0))
    with pt.plate("schools", len(y)):
        theta_trans = pt.sample("theta_trans", dist.Normal(0.0, 1.0))
        theta = pt.deterministic("theta", mu + tau * theta_trans)
        pt.sample("y", dist.Normal(theta, sigma), obs=y)


def schools(data):
    return columns(data, "sigma", "y")


def with_theta(draws):
    """The sites' draws with the schools' effects in the place of the standardised ones."""
    mu, tau = draws["mu"], draws["tau"]
    return {"mu": mu, "tau": tau, "theta": mu.unsqueeze(-1) + tau.unsqueeze(-1) * draws["theta_trans"]}
