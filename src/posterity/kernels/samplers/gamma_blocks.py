"""Many gamma draws in eager code on the CPU: nearly all from a few vectorised operations, the others one by one."""

import torch
from torch import Tensor

# Of fewer draws, and in double precision, torch's loop over them is as fast.
_WORTHWHILE = 1 << 15
_BLOCK = 1 << 16


def eager_gamma(concentration: Tensor, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Gamma draws of rate 1 of a shape to which the concentration expands; no gradient.

    A candidate of Marsaglia and Tsang is accepted by their squeeze for nine in ten; the exact test decides on what
    is left, and torch draws what that rejects and concentrations below 1.

    Source: Marsaglia and Tsang (2000), "A simple method for generating gamma variables".

    Example:
        >>> eager_gamma(torch.tensor(2.0), torch.Size([5, 3]), None).shape
        torch.Size([5, 3])
    """
    if concentration.shape != shape:
        concentration = concentration.expand(shape)
    if concentration.dtype != torch.float32 or not concentration.is_cpu or concentration.numel() < _WORTHWHILE:
        return torch._standard_gamma(concentration, generator=generator)
    draws = torch.empty_like(concentration, memory_format=torch.contiguous_format)
    for a, out in zip(concentration.reshape(-1).split(_BLOCK), draws.view(-1).split(_BLOCK), strict=True):
        _fill(out, a, generator)
    return draws


def _fill(out: Tensor, a: Tensor, generator: torch.Generator | None) -> None:
    z, u = torch.empty_like(a).normal_(generator=generator), torch.empty_like(a).uniform_(generator=generator)
    squeezed = z.square().square_().mul_(0.0331).add_(u) < 1
    left = squeezed.logical_and_(a >= 1).logical_not_().nonzero().squeeze(-1)
    if 2 * len(left) > len(a):
        out.copy_(torch._standard_gamma(a, generator=generator))
        return
    d = a - 1 / 3
    y = d.rsqrt().mul_(1 / 3).mul_(z)
    # d (1 + y)^3, of which only the last sum is rounded by more than what y adds.
    torch.addcmul(d, y.add(3).mul_(y).add_(3).mul_(y), d, out=out)
    some = a[left]
    rejected = left[_rejected(*(t.double() for t in (some, z[left], u[left])))]
    out[rejected] = torch._standard_gamma(a[rejected], generator=generator)


def _rejected(a: Tensor, z: Tensor, u: Tensor) -> Tensor:
    """What the exact test rejects, in double precision; a NaN is rejected."""
    d = a - 1 / 3
    y = z / (3 * d.sqrt())
    return ~((a >= 1) & (u.log() < 3 * d * (y.log1p() - y * (1 - y * (0.5 - y / 3)))))
