"""Uniform noise that resolves both tails: what draws by quantiles of heavy-tailed distributions are made of."""

import math
from typing import cast

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.parameters import is_plain
from posterity.kernels import Source
from posterity.kernels.samplers.noise import noise, settle


def log_levels(d: Distribution, sample_shape: _size, generator: Source) -> tuple[Tensor, Tensor]:
    """Logarithms of a uniform level and of its complement, each finely resolved where it is small.

    Args:
        d: The distribution to be drawn from.
        sample_shape: The shape of independent draws for each element of the batch.
        generator: As in `Distribution.sample`.

    Returns:
        Two tensors of shape `sample_shape + batch_shape`, whose exponentials sum to 1.

    Example:
        >>> from posterity.distributions import Normal
        >>> below, above = log_levels(Normal(0.0, 1.0), (3,), None)
        >>> torch.logaddexp(below, above).abs().max() < 1e-6
        tensor(True)
    """
    signed = tail_noise(d, sample_shape, generator)
    half = signed.abs().mul_(0.5)
    far, near = torch.log1p(-half), half.log_()
    below = signed < 0
    return torch.where(below, near, far), torch.where(below, far, near)


def logistic_noise(d: Distribution, sample_shape: _size, generator: Source) -> Tensor:
    """Standard logistic numbers that reach far into both tails. Arguments are those of `log_levels`."""
    signed = tail_noise(d, sample_shape, generator)
    return signed.abs().mul_(0.5).logit_().copysign_(signed)


def tail_noise(d: Distribution, sample_shape: _size, generator: Source) -> Tensor:
    """Uniform numbers on (-1, 1), finely resolved near 0, which stands for both tails: half of one is its level.

    Arguments are those of `log_levels`.
    """
    like = d._like()
    if (generator is None or isinstance(generator, torch.Generator)) and is_plain():
        return _signed(d._extended_shape(sample_shape), generator, like)
    like = like.detach()
    wide = like.to(torch.promote_types(like.dtype, torch.float32))
    return noise(settle(generator, like), d._extended_shape(sample_shape), wide).signed().to(like.dtype)


def exponential_noise(d: Distribution, sample_shape: _size, generator: Source) -> Tensor:
    """Standard exponential numbers, never 0. Arguments are those of `log_levels`."""
    if _are_few(d, sample_shape, generator):
        return d._like().new_empty(d._extended_shape(sample_shape)).exponential_(generator=cast(_Torchs, generator))
    return d._open_uniform(sample_shape, generator).log_().neg_()


def cauchy_noise(d: Distribution, sample_shape: _size, generator: Source) -> Tensor:
    """Standard Cauchy numbers that reach far into both tails. Arguments are those of `log_levels`."""
    if _are_few(d, sample_shape, generator):
        return d._like().new_empty(d._extended_shape(sample_shape)).cauchy_(generator=cast(_Torchs, generator))
    return tail_noise(d, sample_shape, generator).mul_(0.5 * math.pi).tan_().reciprocal_()


_Torchs = torch.Generator | None


def _are_few(d: Distribution, sample_shape: _size, generator: Source) -> bool:
    """Whether torch's own generator is the faster one: it takes 20 ns for a number, but a single operation.

    On the CPU it makes each number of 53 random bits; elsewhere it has 32, too few for a heavy tail.
    """
    if not (generator is None or isinstance(generator, torch.Generator)) or not is_plain() or not d._like().is_cpu:
        return False
    return d._extended_shape(sample_shape).numel() <= 64


def _signed(shape: torch.Size, generator: _Torchs, like: Tensor) -> Tensor:
    if like.dtype != torch.float64:
        # 53 bits; a half step keeps the numbers from 0.
        fine = torch.empty(shape, dtype=torch.float64, device=like.device)
        limit = 1 - torch.finfo(torch.float32).eps / 2
        return (
            fine.uniform_(-1 + 2.0**-53, 1, generator=generator).to(torch.float32).clamp_(-limit, limit).to(like.dtype)
        )
    coarse = like.new_empty(shape).uniform_(-1, 1, generator=generator)
    # Between the multiples of eps that the first numbers are, without reaching the next one.
    eps = torch.finfo(torch.float64).eps
    return coarse.add_(torch.empty_like(coarse).uniform_(2.0**-53 * eps, (1 - eps) * eps, generator=generator)).clamp_(
        max=1 - eps / 2
    )
