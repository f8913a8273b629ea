"""The Kullback-Leibler divergence from draws, with its standard error."""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.distributions.base import Distribution
from posterity.distributions.kl import log_prob_anywhere
from posterity.distributions.parameters import broadcast_shapes
from posterity.kernels import Source


class Estimate(NamedTuple):
    """A Monte Carlo estimate, `value`, and its `standard_error`, of one shape."""

    value: Tensor
    standard_error: Tensor


def kl_monte_carlo(
    p: torch.distributions.Distribution,
    q: torch.distributions.Distribution,
    num_samples: int,
    generator: Source = None,
) -> Estimate:
    r"""KL(p || q) in nats as the mean of $\log p(x) - \log q(x)$ over draws of `p`, which is unbiased.

    It serves where `kl_divergence` has neither formula nor sum nor integral. Gradients reach the parameters of `p`
    through reparameterised draws; where `p` has none, only those of the log densities are followed.

    Args:
        p: Where the draws come from.
        q: What they are compared with; its batch shape broadcasts against that of `p`.
        num_samples: How many draws, at least 2.
        generator: Where the random numbers come from, for a distribution of this library.

    Returns:
        Estimate: The mean and its standard error, of the shape that the batch shapes broadcast to; infinite where a
        draw lies outside the support of `q`.

    Raises:
        ValueError: `num_samples` is below 2, event shapes differ or batch shapes do not broadcast.
        TypeError: A generator is given, but `p` is torch's own.

    Example:
        >>> from posterity.distributions import Normal
        >>> p, q = Normal(0.0, 1.0), Normal(1.0, 1.0)
        >>> value, error = kl_monte_carlo(p, q, 10_000, torch.Generator().manual_seed(0))
        >>> bool((value - p.kl_divergence(q)).abs() < 5 * error)
        True
    """
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2, for a standard error, but is {num_samples}.")
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL needs equal event shapes, but p has {tuple(p.event_shape)} and q {tuple(q.event_shape)}.")
    batch_shape = broadcast_shapes("batch shapes of p and q", p=p.batch_shape, q=q.batch_shape)
    p = p.expand(batch_shape)
    if isinstance(p, Distribution):
        draw = p.rsample if p.has_rsample else p.sample
        x = draw((num_samples,), generator=generator)
    elif generator is None:
        x = (p.rsample if p.has_rsample else p.sample)(torch.Size([num_samples]))
    else:
        raise TypeError(f"the sampler of torch.distributions.{type(p).__name__} takes no generator: leave it None.")
    log_ratio = p.log_prob(x) - log_prob_anywhere(q, x)
    value = log_ratio.mean(0)
    error = torch.where(value.isinf(), torch.inf, log_ratio.detach().std(0) / num_samples**0.5)
    return Estimate(value, error)
