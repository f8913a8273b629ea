"""A particle filter over a batch of sequences: exact filtering as the number of particles grows."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from posterity.kernels import Key, Source, normal, uniform
from posterity.networks.state_path import Step


class Filtered(NamedTuple):
    """What a filter knows.

    Attributes:
        mean: `[batch, time, latent_size]`, of the state at each step given the observations until then.
        variance: likewise.
        log_likelihood: `[batch]`, an estimate of the observations' log density in nats, unbiased before the logarithm.
    """

    mean: Tensor
    variance: Tensor
    log_likelihood: Tensor


def particle_filter(
    step: Step,
    log_density: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    x: Tensor,
    counted: Tensor | None,
    num_particles: int,
    source: Source = None,
) -> Filtered:
    """Move particles by the model, weight them by what is observed, and resample them at each step.

    Args:
        step: states before `[..., latent_size]`, and None, to `(loc, scale)` of the next.
        log_density: states `[num_particles, batch, latent_size]` and observations `[batch, obs_size]` to log densities
            `[num_particles, batch]`.
        start: the state before the first, `[latent_size]`.
        x: observations, `[batch, time, obs_size]`.
        counted: which steps are observed, `[batch, time]`; None: all.
        num_particles: for each sequence.
        source: where the random numbers come from.

    Returns:
        Means, variances and log likelihoods.

    Source: Gordon, Salmond, Smith (1993), "Novel approach to nonlinear/non-Gaussian Bayesian state estimation";
    systematic resampling: Carpenter, Clifford, Fearnhead (1999), "Improved particle filter for nonlinear problems".
    """
    batch, time = x.shape[:2]
    first, second = source.split() if isinstance(source, Key) else (source, source)
    shape = (num_particles, batch, start.shape[-1])
    # A step at a time, for the numbers of all steps together may be more than memory holds.
    combs = uniform((time, batch, 1), source=second, dtype=start.dtype, device=start.device)
    places = torch.arange(num_particles, dtype=start.dtype, device=start.device)
    state, total = start, x.new_zeros(batch)
    means, variances = [], []
    for t in range(time):
        noise_source = first.fold_in(t) if isinstance(first, Key) else first
        loc, scale = step(state, None)
        state = loc + scale * normal(shape, source=noise_source, dtype=start.dtype, device=start.device)
        log_weights = log_density(state, x[:, t])
        if counted is not None:
            log_weights = torch.where(counted[:, t], log_weights, 0.0)
        total = total + log_weights.logsumexp(0) - math.log(num_particles)
        weights = log_weights.softmax(0)
        mean = (weights.unsqueeze(-1) * state).sum(0)
        means.append(mean)
        variances.append((weights.unsqueeze(-1) * (state - mean).square()).sum(0))
        passed = weights.mT.cumsum(-1)
        levels = (places + combs[t]) / num_particles * passed[:, -1:]
        index = torch.searchsorted(passed.contiguous(), levels, right=True).clamp(max=num_particles - 1)
        state = state.gather(0, index.mT.unsqueeze(-1).expand(shape))
    return Filtered(torch.stack(means, 1), torch.stack(variances, 1), total)
