"""The log evidence from the likelihoods that replica exchange saw at its temperatures."""

import math
from typing import NamedTuple

from torch import Tensor


class ReplicaEvidence(NamedTuple):
    """Estimates of a log evidence.

    Attributes:
        value: By stepping stones, in nats.
        standard_error: Its standard error, by means over stretches of the chains.
        thermodynamic: By thermodynamic integration, in nats: by the trapezoidal rule over the temperatures, whose own
            error, that of a coarse ladder, shows in the difference to `value`.
    """

    value: Tensor
    standard_error: Tensor
    thermodynamic: Tensor


def replica_evidence(log_likelihood: Tensor, inverse_temperatures: Tensor) -> ReplicaEvidence:
    r"""Estimate the log evidence from a run of `ReplicaExchange` that tempered the likelihood.

    Between neighbours, the ratio of evidences is the mean of $L^{\beta_r - \beta_{r+1}}$ at the hotter one; the product
    of all ratios from the prior to the posterior is the evidence.

    Args:
        log_likelihood: At all transitions after the warm-up, `[num_samples, num_chains, num_replicas]`: the field
            `log_likelihood` of what is known of a transition.
        inverse_temperatures: Decreasing from 1 to 0, `[num_chains, num_replicas]`.

    Returns:
        The estimate; of several chains, the mean of their evidences.

    Raises:
        ValueError: The shapes do not fit, there are fewer than 16 transitions, or the ladder does not run from 1 to 0.

    Source: Xie, Lewis, Fan, Kuo and Chen (2011), "Improving marginal likelihood estimation for Bayesian phylogenetic
    model selection"; Gelman and Meng (1998), "Simulating normalizing constants", section 4; batch means: Geyer (1992),
    "Practical Markov chain Monte Carlo", section 3.2.

    Example:
        >>> import torch
        >>> flat = torch.zeros(16, 1, 2)
        >>> float(replica_evidence(flat - 3.0, torch.tensor([[1.0, 0.0]])).value)
        -3.0
    """
    if log_likelihood.dim() != 3 or inverse_temperatures.shape != log_likelihood.shape[1:]:
        raise ValueError(
            "replica_evidence: log_likelihood must be [num_samples, num_chains, num_replicas] and inverse_temperatures "
            f"[num_chains, num_replicas], not {tuple(log_likelihood.shape)} and {tuple(inverse_temperatures.shape)}"
        )
    if len(log_likelihood) < 16:
        raise ValueError(f"replica_evidence: there must be at least 16 transitions, not {len(log_likelihood)}")
    betas = inverse_temperatures.double()
    if bool((betas[:, 0] != 1).any()) or bool((betas[:, -1] != 0).any()):
        raise ValueError(
            "replica_evidence: the ladder must run from 1 to 0, the prior: temper the likelihood, up to an infinite "
            "temperature"
        )
    energy = log_likelihood.double()
    steps = betas[:, :-1] - betas[:, 1:]
    powers = steps * energy[..., 1:]
    ratios = powers.logsumexp(0) - math.log(len(powers))
    chains = ratios.sum(-1)
    # The mean of the chains' evidences: that of their logarithms would be too small.
    value = chains.logsumexp(0) - math.log(len(chains))
    share = chains.softmax(0)
    # To first order the estimate moves with the sum of the weights, each relative to its mean.
    influence = (powers - ratios).exp().sum(-1)
    error = (share * _error_of_mean(influence)).square().sum().sqrt()
    mean = energy.mean(0)
    thermodynamic = (steps * (mean[:, :-1] + mean[:, 1:]) / 2).sum(-1).mean()
    return ReplicaEvidence(value, error, thermodynamic)


def _error_of_mean(series: Tensor) -> Tensor:
    """The standard error of each column's mean, by batch means, `[num_chains]`."""
    length = math.isqrt(len(series))
    number = len(series) // length
    means = series[len(series) - number * length :].reshape(number, length, -1).mean(1)
    return means.std(0) / math.sqrt(number)
