"""Poisson draws: inversion for small rates, transformed rejection for the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.poisson_mass import log_poisson_mass
from posterity.kernels.random import Key, Source
from posterity.kernels.samplers.inversion import SMALL_MEAN, count_by_inversion
from posterity.kernels.samplers.noise import Noise, is_eager, noise, settle
from posterity.kernels.samplers.parameters import drawn_shape, is_direct, sampler_parameters
from posterity.kernels.samplers.rejection import PROPOSAL_CALLS, first_accepted

# A candidate is rejected with probability below 0.25 at rates from 10 (0.11 in the limit); 0.25^21 = 2e-13.
_CANDIDATES = 21


def poisson(rate: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Draws from the Poisson distribution.

    Args:
        rate: Not negative; any shape.
        sample_shape: Drawn in front of the rate's shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Floating tensor `[*sample_shape, *rate.shape]` of counts, without gradient. Counts that the dtype cannot
        hold exactly (above 2^24 in float32) are rounded.

    Raises:
        TypeError: `rate` is not a real tensor.

    Source: Hoermann (1993), "The transformed rejection method for generating Poisson random variables", algorithm
    PTRS.

    Example:
        >>> poisson(torch.tensor([0.0, 1e6]), (2,), source=Key(0)).shape
        torch.Size([2, 2])
    """
    if is_direct(source, rate):
        rate = rate.detach() if rate.requires_grad else rate
        return torch.poisson(rate.expand((*sample_shape, *rate.shape)) if sample_shape else rate, generator=source)
    (rate,) = sampler_parameters("poisson", rate=rate)
    rate = rate.detach()
    shape = drawn_shape("poisson", sample_shape, rate=rate)
    settled = settle(source, rate)
    if not isinstance(settled, Key):
        return torch.poisson(rate.expand(shape), generator=settled)
    small = rate < SMALL_MEAN
    eager = is_eager(rate)
    draws = torch.zeros((), dtype=rate.dtype, device=rate.device)
    if not eager or not small.all():
        large = rate.clamp(min=SMALL_MEAN)
        active = ~small if eager else None
        draws = first_accepted(_propose, (large,), shape, settled, _CANDIDATES, active)
    if not eager or small.any():
        few = rate.clamp(max=SMALL_MEAN)
        level = noise(settled, shape, rate, PROPOSAL_CALLS).uniform()
        counts = count_by_inversion(level, torch.exp(-few), lambda k: few / k)
        draws = torch.where(small, counts, draws)
    return draws


def _propose(source: Noise, rate: Tensor) -> tuple[Tensor, Tensor]:
    root = torch.sqrt(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    signed = source.signed()
    # u is uniform on (-1/2, 1/2), and `end` is its distance from the nearer end, where the law's tails lie.
    end = 0.5 * signed.abs()
    u = signed.sign() * (0.5 - end)
    k = torch.floor((2 * a / end + b) * u + rate + 0.43)
    log_v = -source.exponential()
    inside = k >= 0
    hat = torch.log(inverse_alpha / (a / (end * end) + b))
    return k, inside & (log_v + hat <= log_poisson_mass(k.clamp(min=0), rate))
