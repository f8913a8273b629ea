"""Hares and lynxes: Lotka and Volterra's equations for prey and predator, observed with log-normal errors."""

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

import posterity as pt
from posterity import distributions as dist
from tests.posteriordb.priors import Restricted
from tests.posteriordb.records import columns


def program(y_init, y):
    """Counts `[2]` at time 0, and `[N, 2]` at times 1 to N."""
    theta_prior = dist.Normal(torch.tensor([1.0, 0.05, 1.0, 0.05]), torch.tensor([0.5, 0.05, 0.5, 0.05]))
    theta = pt.sample("theta", Restricted(theta_prior.to_event(1), constraints.positive))
    z_init = pt.sample("z_init", dist.LogNormal(torch.full((2,), math.log(10.0)), 1.0).to_event(1))
    sigma = pt.sample("sigma", dist.LogNormal(torch.full((2,), -1.0), 1.0).to_event(1))
    log_z = log_populations(theta, z_init.log(), len(y))
    pt.sample("y_init", dist.LogNormal(z_init.log(), sigma).to_event(1), obs=y_init)
    with pt.plate("years", len(y)):
        pt.sample("y", dist.LogNormal(log_z, sigma).to_event(1), obs=y)


def log_populations(theta, log_init, num_years):
    r"""Logarithms of prey and predators after each year, `[num_years, 2]`, for the rates `theta`, `[4]`.

    With $P = \log(\theta_4 u)$ and $Q = \log(\theta_2 v)$ the equations are $P' = \theta_1 - e^Q$ and
    $Q' = e^P - \theta_3$: only the scales depend on the other two rates.
    """
    growth, predation, decline, gain = theta.unbind(-1)
    scales = torch.stack([gain, predation], -1).log()
    path, _ = scaled_path(torch.cat([torch.stack([growth, decline], -1), log_init + scales], -1), num_years)
    # Rates so high that the solution is lost belong to no posterior, and stay numbers here.
    return torch.where(path.isfinite(), path, 1e3) - scales


@torch.library.custom_op("posteriordb::scaled_path", mutates_args=())
def scaled_path(start: Tensor, num_years: int) -> tuple[Tensor, Tensor]:
    r"""The solution of $P' = g - e^Q$, $Q' = e^P - d$ after each year, and its derivatives; one node of a graph.

    Over half a year the right-hand sides are polynomials through their values at Gauss's nodes, and the integral
    equations are solved by turns, Q for known P, then P for known Q.

    Source: Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, 1993, sections II.7 (collocation)
    and I.14 (derivatives).

    Args:
        start: `[*batch, 4]`: g, d, P and Q at time 0.
        num_years: How many years.

    Returns:
        P and Q, `[*batch, num_years, 2]`, and their derivatives with respect to `start`, `[*batch, num_years, 2, 4]`.
    """
    times, within, across = _collocation(num_nodes=4, length=1 / _PARTS)
    growth, decline, p, q = np.moveaxis(start.detach().numpy(), -1, 0)[..., None]
    points, prey_there, predators_there = [], [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_PARTS * num_years):
            p_line, q_line = p + growth * times, q - decline * times
            predators = np.exp(q_line + np.exp(p) * times)
            for _ in range(_SWEEPS):
                prey = np.exp(p_line - predators @ within)
                predators = np.exp(q_line + prey @ within)
            p, q = p + growth / _PARTS - predators @ across, q - decline / _PARTS + prey @ across
            points.append(np.concatenate([p, q], -1))
            prey_there.append(prey)
            predators_there.append(predators)
        slopes = _slopes(np.stack(prey_there), np.stack(predators_there))
    path = np.stack(points[_PARTS - 1 :: _PARTS], -2)
    return torch.from_numpy(path), torch.from_numpy(np.stack(slopes[_PARTS - 1 :: _PARTS], -3))


def _slopes(prey, predators):
    """Derivatives of P and Q at the end of each part of a year with respect to `start`, each `[*batch, 2, 4]`.

    Those of one part with respect to what holds at its beginning, of all parts together, are chained.
    """
    times, within, across = _collocation(num_nodes=4, length=1 / _PARTS)
    prey, predators = prey[..., None, :], predators[..., None, :]
    p_line = np.stack([times, 0 * times, 1 + 0 * times, 0 * times])
    q_line = np.stack([0 * times, -times, 0 * times, 1 + 0 * times])
    q = q_line + (prey * p_line) @ within
    for _ in range(_SWEEPS):
        p = p_line - (predators * q) @ within
        q = q_line + (prey * p) @ within
    ends = np.array([[1 / _PARTS, 0, 1, 0], [0, -1 / _PARTS, 0, 1]])
    parts = ends + np.concatenate([-(predators * q) @ across, (prey * p) @ across], -1).swapaxes(-1, -2)
    slopes = [np.broadcast_to(np.eye(4)[2:], parts.shape[1:])]
    for part in parts:
        chained = part[..., 2:] @ slopes[-1]
        chained[..., :2] += part[..., :2]
        slopes.append(chained)
    return slopes[1:]


# With 4 nodes the logarithms are right to about 1e-8 near the posterior.
_PARTS, _SWEEPS = 2, 5


@scaled_path.register_fake
def _(start, num_years):
    return start.new_empty(*start.shape[:-1], num_years, 2), start.new_empty(*start.shape[:-1], num_years, 2, 4)


@scaled_path.register_vmap
def _(info, in_dims, start, num_years):
    return scaled_path(start.movedim(in_dims[0], 0), num_years), (0, 0)


def _keep_slopes(ctx, inputs, output):
    ctx.save_for_backward(output[1])


def _times_slopes(ctx, grad_path, grad_slopes):
    (slopes,) = ctx.saved_tensors
    return (grad_path.unsqueeze(-1) * slopes).sum((-3, -2)), None


scaled_path.register_autograd(_times_slopes, setup_context=_keep_slopes)


def counts(data):
    return columns(data, "y_init", "y")


@functools.cache
def _collocation(num_nodes, length):
    """Gauss's nodes of an interval, and what takes values there to integrals up to each node `[n, n]`, and over all."""
    x, weights = np.polynomial.legendre.leggauss(num_nodes)
    powers = np.vander(x, num_nodes, increasing=True)
    order = np.arange(1, num_nodes + 1)
    integrals = (x[:, None] ** order - (-1.0) ** order) / order
    within = np.linalg.solve(powers.T, integrals.T)
    return (x + 1) / 2 * length, within * length / 2, weights[:, None] * length / 2
