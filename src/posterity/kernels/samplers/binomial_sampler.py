"""Binomial draws, and multinomial counts from them."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from posterity.kernels.elementwise import in_blocks
from posterity.kernels.poisson_mass import deviance
from posterity.kernels.random import Key, Source
from posterity.kernels.reading import lies_within, readable
from posterity.kernels.samplers.inversion import SMALL_MEAN, count_by_inversion
from posterity.kernels.samplers.noise import Noise, is_eager, noise, part, settle
from posterity.kernels.samplers.parameters import drawn_shape, is_direct, sampler_parameters
from posterity.kernels.samplers.rejection import PROPOSAL_CALLS, first_accepted
from posterity.kernels.stirling import stirling_error

# A candidate is rejected with probability below 0.291 at means from 10; 0.291^24 = 2e-13.
_CANDIDATES = 24

# At so few trials torch's rounding in float32 moves a probability by 2e-5 of itself at most.
_FEW = 128

_LOG_2PI = math.log(2 * math.pi)


def binomial(
    total_count: Tensor | float, probs: Tensor | float, sample_shape: Sequence[int] = (), *, source: Source = None
) -> Tensor:
    """Draws from the binomial distribution.

    Args:
        total_count: Number of trials, a whole number not below zero.
        probs: Probability of success, in [0, 1]; broadcasts against `total_count`.
        sample_shape: Drawn in front of the parameters' shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Floating tensor `[*sample_shape, *batch_shape]` of counts, without gradient. Counts that the dtype cannot
        hold exactly (above 2^24 in float32) are rounded.

    Raises:
        TypeError: No parameter is a tensor, or one is neither a number nor a real tensor.
        ValueError: The shapes do not broadcast.

    Source: Hoermann (1993), "The generation of binomial random variates", algorithm BTRS.

    Example:
        >>> binomial(torch.tensor([0.0, 7.0]), 1.0, source=Key(0))
        tensor([0., 7.])
    """
    if is_direct(source, total_count, probs):
        n, p = cast(Tensor, total_count), cast(Tensor, probs)
        if n.requires_grad or p.requires_grad:
            n, p = n.detach(), p.detach()
        few = readable(n) and lies_within(n, -1.0, _FEW)
        if sample_shape:
            n, p = (t.expand((*sample_shape, *t.shape)) for t in (n, p))
        if few:
            return torch.binomial(n, p, generator=source)
        return in_blocks(lambda n, p: _wide_draws(n, p, source), n, p)
    n, p = sampler_parameters("binomial", total_count=total_count, probs=probs)
    n, p = n.detach(), p.detach()
    shape = drawn_shape("binomial", sample_shape, total_count=n, probs=p)
    settled = settle(source, n, p)
    if not isinstance(settled, Key):
        return _wide_draws(n.expand(shape), p.expand(shape), settled)
    rare = torch.minimum(p, 1 - p)
    small = n * rare < SMALL_MEAN
    eager = is_eager(n, p)
    draws = torch.zeros((), dtype=n.dtype, device=n.device)
    if not eager or not small.all():
        # Where the mean is small, any parameters that the rejection can work with.
        many = torch.where(small, 4 * SMALL_MEAN, n)
        even = torch.where(small, 0.5, rare)
        active = ~small if eager else None
        draws = first_accepted(_propose, (many, even), shape, settled, _CANDIDATES, active)
    if not eager or small.any():
        q = torch.where(small, rare, 0.0)
        odds = q / (1 - q)
        zero = torch.exp(n * torch.log1p(-q))
        level = noise(settled, shape, odds, PROPOSAL_CALLS).uniform()
        counts = count_by_inversion(level, zero, lambda k: (n - k + 1).clamp(min=0) / k * odds)
        draws = torch.where(small, counts, draws)
    return torch.where(p > 0.5, n - draws, draws)


def multinomial(
    total_count: Tensor | float, probs: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None
) -> Tensor:
    """Counts of the multinomial distribution.

    The categories are split in halves, and the halves again: a binomial draw gives each half its share, so that the
    work is that of log2(num_categories) batches of binomial draws, whatever the total count.

    Args:
        total_count: Number of trials, `[*batch_shape]`, or a number.
        probs: `[*batch_shape, num_categories]`, not negative; normalised over the last dimension.
        sample_shape: Drawn in front of the batch shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Floating tensor `[*sample_shape, *batch_shape, num_categories]` of counts, without gradient.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: The shapes do not broadcast, `probs` has no dimension, or `source` is a batch of keys.

    Source: Devroye (1986), "Non-uniform random variate generation", section XI.1.4, on conditional binomials.

    Example:
        >>> multinomial(10, torch.tensor([0.2, 0.3, 0.5]), (2,), source=Key(0)).sum(-1)
        tensor([10., 10.])
    """
    n, p = sampler_parameters("multinomial", total_count=total_count, probs=probs)
    if p.dim() == 0:
        raise ValueError("multinomial: probs needs a last dimension, that of the categories; got a scalar.")
    settled = settle(source, n, p)
    if isinstance(settled, Key) and settled.data.dim() > 1:
        raise ValueError("multinomial: source is a batch of keys; map over it with torch.vmap instead.")
    n, p = n.detach(), p.detach()
    shape = drawn_shape("multinomial", sample_shape, total_count=n, probs=p[..., 0])
    categories = p.shape[-1]
    depth = max(categories - 1, 0).bit_length()
    levels = [torch.nn.functional.pad(p, (0, 2**depth - categories))]
    for _ in range(depth):
        levels.append(levels[-1].unflatten(-1, (-1, 2)).sum(-1))
    counts = n.expand(shape).unsqueeze(-1)
    for level in range(depth):
        halves = levels[depth - 1 - level].unflatten(-1, (-1, 2))
        left, right = halves[..., 0], halves[..., 1]
        both = left + right
        share = torch.where(both > 0, left / torch.where(both > 0, both, 1.0), 0.5)
        chosen = binomial(counts, share, source=part(settled, level))
        counts = torch.stack([chosen, counts - chosen], dim=-1).flatten(-2)
    return counts[..., :categories]


def _wide_draws(n: Tensor, p: Tensor, generator: torch.Generator | None) -> Tensor:
    # In float32 torch's draws of large counts do not follow the law.
    return torch.binomial(n.double(), p.double(), generator=generator).to(n.dtype)


def _propose(source: Noise, n: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    q = 1 - p
    mean, spread = n * p, torch.sqrt(n * p * q)
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    alpha = (2.83 + 5.1 / b) * spread
    signed = source.signed()
    # u is uniform on (-1/2, 1/2), and `end` is its distance from the nearer end, where the law's tails lie.
    end = 0.5 * signed.abs()
    u = signed.sign() * (0.5 - end)
    k = torch.floor((2 * a / end + b) * u + mean + 0.5)
    inside = (k >= 0) & (k <= n)
    k = torch.where(inside, k, torch.floor(mean))
    mode = torch.floor((n + 1) * p)
    log_ratio = _log_binomial(k, n, p, q) - _log_binomial(mode, n, p, q)
    log_v = -source.exponential() + torch.log(alpha / (a / (end * end) + b))
    return k, inside & (log_v <= log_ratio)


def _log_binomial(k: Tensor, n: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Log of the binomial probability, without what depends on n alone. Source: Loader (2000)."""
    return _log_part(k, n * p) + _log_part(n - k, n * q)


def _log_part(k: Tensor, mean: Tensor) -> Tensor:
    above = k.clamp(min=1)
    rest = -deviance(above, mean) - stirling_error(above) - 0.5 * torch.log(above)
    # Of zero successes only the deviance is left: the factor of Stirling's formula is absent.
    return torch.where(k == 0, -mean + 0.5 * _LOG_2PI, rest)
