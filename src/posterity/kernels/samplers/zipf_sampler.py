"""Zipf (zeta) draws by rejection-inversion."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import Noise, settle
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters
from posterity.kernels.samplers.rejection import first_accepted

# A candidate is rejected with probability below 0.017; 0.017^8 = 7e-15.
_CANDIDATES = 8


def zipf(exponent: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Draws from Zipf's law on the positive integers, P(k) proportional to k^-exponent.

    Args:
        exponent: Above 1; any shape.
        sample_shape: Drawn in front of the exponent's shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Floating tensor `[*sample_shape, *exponent.shape]` of whole numbers from 1, without gradient: rounded where
        the dtype cannot hold them exactly, and its largest finite number where they exceed it, which an exponent
        near 1 makes common.

    Raises:
        TypeError: `exponent` is not a real tensor.

    Source: Hoermann and Derflinger (1996), "Rejection-inversion to generate variates from monotone discrete
    distributions".

    Example:
        >>> zipf(torch.tensor([1.5, 3.0]), (2,), source=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 2])
    """
    (exponent,) = sampler_parameters("zipf", exponent=exponent)
    shape = drawn_shape("zipf", sample_shape, exponent=exponent)
    return first_accepted(_propose, (exponent,), shape, settle(source, exponent.detach()), _CANDIDATES)


def _propose(source: Noise, exponent: Tensor) -> tuple[Tensor, Tensor]:
    power = exponent - 1
    # W is the paper's u times -power: uniform up to its value at the left end of the hat, and W^(-1 / power) = x.
    log_end = torch.log(1.5**-power + power)
    log_w = log_end - source.exponential()
    x = torch.exp(-log_w / power).clamp(max=torch.finfo(exponent.dtype).max)
    k = torch.floor(x + 0.5).clamp(min=1)
    # Sure acceptance where k - x is at most this, the gap at k = 2; beyond it the test itself.
    gap = 2 - (2.5**-power + power * 2.0**-exponent) ** (-1 / power)
    left = (k + 0.5) ** -power + power * k**-exponent
    return k, (k == 1) | (k - x <= gap) | (log_w <= torch.log(left))
